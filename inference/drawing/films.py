"""Films: frames into an MP4 that plays everywhere, from its first byte on."""

import tempfile
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt

MEDIA_TYPE = "video/mp4"
# H.264's quality from 0 (all of it) to 51; at 18 few see a difference.
QUALITY = "18"


def write(frames: npt.NDArray[np.uint8], fps: int) -> bytes:
    """H.264 in MP4 of `frames` (count, height, width, 3), `fps` of them a second.

    The index stands before the pictures, so that a browser can begin while it still loads.
    """
    frames = _even(frames)
    # FFmpeg moves the index by reading the file that it has written.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        with av.open(path, "w", options={"movflags": "+faststart"}) as output:
            stream = cast(Any, output.add_stream("libx264", rate=fps, options={"crf": QUALITY}))
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuv420p"
            for frame in frames:
                output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            output.mux(stream.encode(None))
        return path.read_bytes()


def _even(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """With the last row or column doubled where there is an odd number: H.264 has pairs."""
    _, height, width, _ = frames.shape
    return np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
