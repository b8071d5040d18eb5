"""llama.cpp's own HTTP server on the packaged SmolLM2, set up as our engine is: the rival.

python -m benchmarks.llamacpp_server PORT
"""

import signal
import sys
import threading
from pathlib import Path

import xllamacpp

from inference import catalog, weights
from inference.cores import cores
from inference.text_llamacpp import CACHE_TYPES, FLASH_ATTENTION, PROMPT_PIECE

MODEL = "smollm2-135m"
DATA = Path("data")


def main() -> None:
    card = catalog.load([]).cards[MODEL]
    found = weights.fetch(card, DATA / "models", DATA / "cache", lambda fraction: None)
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(found.path("model"))
    parameters.n_parallel = card.slots
    parameters.n_ctx = card.slots * (card.context or 0)
    parameters.n_batch = PROMPT_PIECE
    parameters.cache_type_k = parameters.cache_type_v = CACHE_TYPES["q8_0"]
    parameters.flash_attn_type = FLASH_ATTENTION
    parameters.cache_ram_mib = 0
    for threads in (parameters.cpuparams, parameters.cpuparams_batch):
        threads.n_threads = cores()
        threads.poll = 0
    parameters.port = int(sys.argv[1])
    parameters.ui = False
    parameters.verbosity = 1
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    ended.wait()


if __name__ == "__main__":
    main()
