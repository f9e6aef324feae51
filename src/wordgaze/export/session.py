"""An exported model, run by ONNX Runtime and NumPy alone. Imports no torch.

Letters: B photos, C captions or beams of each, R = B·C rows, photo by photo, T tokens, S tokens read before, N patches
(and tokens before them), D width, d = D / heads, V vocabulary.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wordgaze.errors import ModelError, first_line
from wordgaze.explanation.attentions import ForcedPass
from wordgaze.export.log_probs import NumpyLogProbs
from wordgaze.export.manifest import DECODER, ENCODER, GRAPHS, PATCHES, Manifest, read_manifest

_GROUP = 8  # photos that are encoded together: more of them have feature maps larger than a processor's cache

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


class OnnxModel:
    """The encoder and the decoder of an exported folder; ``manifest`` says what they are."""

    def __init__(self, manifest: Manifest, encoder: Any, patches: Any, decoder: Any) -> None:
        self.manifest = manifest
        self._encoder, self._patches, self._decoder = encoder, patches, decoder
        outputs = [output.name for output in decoder.get_outputs()]
        self._step_outputs = [name for name in outputs if not name.startswith("over_")]
        self._attention_outputs = [name for name in outputs if name.startswith(("log_probs", "over_"))]
        inputs = [entry for entry in decoder.get_inputs() if entry.name.startswith("past_")]
        self._past_names = [entry.name for entry in inputs]
        self._heads, self._head_width = inputs[0].shape[2], inputs[0].shape[4]

    @classmethod
    def load(cls, folder: str | os.PathLike[str], threads: int | None = None) -> OnnxModel:
        """Open the ONNX files of an exported folder.

        ``threads``: how many a computation may use; by default one per core that this process may run on, or as many
        as ``OMP_NUM_THREADS`` says, as for torch. Raises ModelError where ONNX Runtime is missing, and for a folder
        that is damaged or of another version.
        """
        manifest = read_manifest(folder)
        try:
            import onnxruntime
        except ImportError as error:
            raise ModelError(
                f"{folder} is an exported model, which ONNX Runtime runs, and that is not installed here "
                f'({first_line(error)}); run `pip install "wordgaze[onnx]"`.'
            ) from error
        sessions = {}
        for name in GRAPHS:
            path = Path(folder, name)
            try:
                sessions[name] = _open(path, threads or _num_threads())
            except Exception as error:  # ONNX Runtime's errors have no common parent
                reason = first_line(error)
                raise ModelError(
                    f"{path} can't be run by ONNX Runtime {onnxruntime.__version__} ({reason}); export the model again."
                ) from error
        return cls(manifest, sessions[ENCODER], sessions[PATCHES], sessions[DECODER])

    def encode(self, pixel_values: np.ndarray, hflip: bool = False) -> np.ndarray:
        """Return ``encoder_hidden_states`` (B, N, D) of ``pixel_values`` (B, 3, H, W), float32.

        ``hflip``: the mean of the photos' states and those of their mirror images, unflipped.
        """
        if not hflip:
            return self._encode(pixel_values)
        both = self._encode(np.concatenate((pixel_values, pixel_values[..., ::-1])))
        original, flipped = np.split(both, 2)
        return (original + self._unflip(flipped)) / np.float32(2)

    def stepper(self, encoder_hidden_states: np.ndarray) -> OnnxStepper:
        """Return the decoder before its captions of photos (B, N, D), as a search takes it."""
        return OnnxStepper(self, encoder_hidden_states)

    def cross_attentions(
        self, encoder_hidden_states: np.ndarray, token_ids: Sequence[Sequence[int]]
    ) -> list[tuple[np.ndarray, ...]]:
        """Return for each caption, over one photo's states (1, N, D), its weights per layer, (heads, P, N)."""
        return [forced.cross_attentions for forced in self.forced_passes(encoder_hidden_states, token_ids)]

    def forced_passes(self, encoder_hidden_states: np.ndarray, captions: Sequence[Sequence[int]]) -> list[ForcedPass]:
        """Read the ids of each caption, except the last id, over one photo's states (1, N, D).

        As :func:`wordgaze.explanation.forced_pass.forced_passes`: all at once, the shorter ones padded at their end.
        """
        longest = max(map(len, captions))
        ids = np.array([[*ids, *[ids[-1]] * (longest - len(ids))] for ids in captions], np.int64)
        feeds = self.patches(encoder_hidden_states) | self._no_tokens(1, len(ids)) | {"input_ids": ids[None, :, :-1]}
        log_probs, *weights = self._decoder.run(self._attention_outputs, feeds)
        layers = len(weights) // 2
        of_ids = np.take_along_axis(log_probs[0], ids[:, 1:, None], axis=2)[..., 0]
        passes = []
        for row, caption in enumerate(captions):
            length = len(caption) - 1
            passes.append(
                ForcedPass(
                    tuple(layer[0, :, row, :length] for layer in weights[:layers]),
                    tuple(layer[0, row, :, :length, :length] for layer in weights[layers:]),
                    of_ids[row, :length],
                )
            )
        return passes

    def patches(self, encoder_hidden_states: np.ndarray) -> dict[str, np.ndarray]:
        """Return the decoder's keys and values of the patches of photos (B, N, D), each (B, heads, N, d)."""
        names = [output.name for output in self._patches.get_outputs()]
        return dict(zip(names, self._patches.run(names, {"encoder_hidden_states": encoder_hidden_states}), strict=True))

    def step(
        self, ids: np.ndarray, patches: dict[str, np.ndarray], tokens: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Read ``ids`` (B, C, T) after ``tokens``, by name each (B, C, heads, S, d), or nothing.

        Return the log-probabilities (B, C, V) of what comes next, and the tokens with the new ones.
        """
        tokens = tokens or self._no_tokens(*ids.shape[:2])
        log_probs, *grown = self._decoder.run(self._step_outputs, patches | tokens | {"input_ids": ids})
        return log_probs[:, :, -1], dict(zip(self._past_names, grown, strict=True))

    def _encode(self, pixel_values: np.ndarray) -> np.ndarray:
        if len(pixel_values) > _GROUP:
            starts = range(0, len(pixel_values), _GROUP)
            return np.concatenate([self._encode(pixel_values[start : start + _GROUP]) for start in starts])
        pixel_values = np.ascontiguousarray(pixel_values)
        [states] = self._encoder.run(["encoder_hidden_states"], {"pixel_values": pixel_values})
        return states

    def _unflip(self, states: np.ndarray) -> np.ndarray:
        """Return the states (B, N, D) of mirror images with each patch at its position in the photo."""
        prefix, patches = np.split(states, [self.manifest.num_prefix], axis=1)
        grid = patches.reshape(len(patches), *self.manifest.grid, -1)
        return np.concatenate((prefix, grid[:, :, ::-1].reshape(patches.shape)), axis=1)

    def _no_tokens(self, photos: int, captions: int) -> dict[str, np.ndarray]:
        nothing = np.empty((photos, captions, self._heads, 0, self._head_width), np.float32)
        return dict.fromkeys(self._past_names, nothing)


class OnnxStepper:
    """A decoder in the middle of its captions; :class:`wordgaze.generation.stepper.Stepper` says what it does."""

    def __init__(self, model: OnnxModel, encoder_hidden_states: np.ndarray) -> None:
        self.num_photos = len(encoder_hidden_states)
        self._model = model
        self._photos = self.num_photos
        self._patches = model.patches(encoder_hidden_states)
        self._tokens: dict[str, np.ndarray] = {}  # per layer keys and values, each (R, heads, S, d)

    def step(self, ids: np.ndarray) -> NumpyLogProbs:
        tokens = {name: values.reshape(self._photos, -1, *values.shape[1:]) for name, values in self._tokens.items()}
        by_photo = ids.reshape(self._photos, -1, ids.shape[1])
        log_probs, tokens = self._model.step(by_photo, self._patches, tokens)
        self._tokens = {name: values.reshape(len(ids), *values.shape[2:]) for name, values in tokens.items()}
        return NumpyLogProbs(log_probs.reshape(len(ids), -1))

    def reorder(self, rows: np.ndarray) -> None:
        self._tokens = {name: values[rows] for name, values in self._tokens.items()}

    def keep_photos(self, photos: np.ndarray, rows: np.ndarray) -> None:
        self._photos = len(photos)
        self._patches = {name: values[photos] for name, values in self._patches.items()}
        self.reorder(rows)


def _open(path: Path, threads: int) -> InferenceSession:
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors alone: warnings are for those who made the file
    return InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _num_threads() -> int:
    said = os.environ.get("OMP_NUM_THREADS", "")
    if said.isdecimal() and int(said):
        return int(said)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
