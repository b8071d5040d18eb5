// Speech while it is still being spoken: a WAV file (16 bits, one channel) as its bytes come.

// Where the samples begin, in the files that the API sends.
const HEADER = 44;
// A little later than now, so that the next piece follows without a gap.
const AHEAD_S = 0.05;

export class Speaker {
  // Only as the press of a button may a page sound.
  constructor() {
    this.context = new AudioContext();
    this.rest = new Uint8Array();
    this.skip = HEADER;
    this.next = 0;
  }

  push(bytes, sampleRate) {
    const whole = new Uint8Array([...this.rest, ...bytes]);
    const from = Math.min(this.skip, whole.length);
    const count = (whole.length - from) >> 1;
    this.rest = whole.slice(from + count * 2);
    this.skip -= from;
    if (!count || this.context.state === "closed") return;
    const view = new DataView(whole.buffer, from);
    const sound = this.context.createBuffer(1, count, sampleRate);
    const samples = sound.getChannelData(0);
    for (let place = 0; place < count; place++) samples[place] = view.getInt16(place * 2, true) / 32768;
    const source = this.context.createBufferSource();
    source.buffer = sound;
    source.connect(this.context.destination);
    this.next = Math.max(this.next, this.context.currentTime + AHEAD_S);
    source.start(this.next);
    this.next += sound.duration;
  }

  stop() {
    if (this.context.state !== "closed") this.context.close();
  }
}
