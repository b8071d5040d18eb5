// Speech while it is still being spoken: pieces of a WAV file (16 bits, one channel), one after
// the other.

export class Speaker {
  constructor() {
    this.context = new AudioContext();
    this.at = 0;
    this.next = 0;
  }

  // `base64`: the bytes of the file from `offset` on; a piece out of order is left to the player.
  push(base64, offset, sampleRate) {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    if (offset !== this.at) return;
    this.at += bytes.length;
    const from = offset === 0 ? headerOf(bytes) : 0;
    const count = (bytes.length - from) >> 1;
    if (!count) return;
    const view = new DataView(bytes.buffer, from);
    const sound = this.context.createBuffer(1, count, sampleRate);
    const samples = sound.getChannelData(0);
    for (let place = 0; place < count; place++) samples[place] = view.getInt16(place * 2, true) / 32768;
    const source = this.context.createBufferSource();
    source.buffer = sound;
    source.connect(this.context.destination);
    this.next = Math.max(this.next, this.context.currentTime + 0.05);
    source.start(this.next);
    this.next += sound.duration;
  }

  stop() {
    this.context.close().catch(() => {});
  }
}

// The bytes before the samples.
function headerOf(bytes) {
  const place = new TextDecoder("latin1").decode(bytes.subarray(0, 512)).indexOf("data");
  return place < 0 ? 0 : place + 8;
}
