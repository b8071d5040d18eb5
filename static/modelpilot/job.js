// A job that has not ended, as it happens. The server draws the page again when it is over.

const PHASES = {
  starting: "A pod of the model starts",
  downloading: "The model's weights are downloaded",
  loading: "The model is loaded",
  queued: "Waiting in the queue",
  running: "The model works on it",
};

const live = document.querySelector("[data-events]");

function follow() {
  const part = (name) => live.querySelector(`[data-live="${name}"]`);
  const texts = new Map();
  const source = new EventSource(live.dataset.events);
  const on = (name, act) => source.addEventListener(name, (event) => act(JSON.parse(event.data)));

  on("state", ({ phase, queue_position, estimated_time_ms }) => {
    part("phase").textContent = PHASES[phase] ?? phase;
    const words = [];
    if (queue_position) words.push(`number ${queue_position} in the queue`);
    if (estimated_time_ms) words.push(`about ${Math.ceil(estimated_time_ms / 1000)} s to go`);
    part("outlook").textContent = words.join(", ");
  });
  on("progress", ({ fraction }) => {
    part("progress").value = fraction;
  });
  on("preview", ({ media_type, data }) => {
    const picture = part("preview");
    picture.src = `data:${media_type};base64,${data}`;
    picture.hidden = false;
  });
  on("delta", ({ index, part: name = "content", offset, text }) => {
    if (index || name !== "content") return;
    texts.set(index, (texts.get(index) ?? "").slice(0, offset) + text);
    const answer = part("text");
    answer.textContent = texts.get(index);
    answer.hidden = false;
  });
  on("restart", () => {
    texts.clear();
    part("text").hidden = true;
    part("preview").hidden = true;
    part("progress").removeAttribute("value");
  });
  on("end", () => {
    source.close();
    window.htmx.ajax("GET", location.href, { target: "#job", select: "#job", swap: "outerHTML" });
  });
  // A browser comes again by itself, but not after an answer that is an error.
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(follow, 5000);
  };
}

if (live) follow();
