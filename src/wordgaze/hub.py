"""A model's name → its folder: the bundled model, a folder here, or one that the hub sends."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

from wordgaze.errors import ConfigError, ModelError, first_line
from wordgaze.files import checked_path
from wordgaze.folder import CONFIDENCE, CONFIG, EXPORT, FILES, is_foreign

# Names that were here before there was `wordgaze.folder`.
from wordgaze.folder import ModelParts as ModelParts
from wordgaze.folder import load_folder as load_folder
from wordgaze.folder import save_confidence as save_confidence
from wordgaze.folder import save_folder as save_folder


def bundled_folder() -> Path:
    """Return the model that ships with wordgaze; raises ModelError when this installation has none."""
    folder = Path(str(resources.files("wordgaze") / "bundled"))
    if not (folder / CONFIG).is_file():
        raise ModelError(
            f"This installation has no bundled model ({folder / CONFIG} is missing); "
            "reinstall wordgaze, or name a model folder or a hub id."
        )
    return folder


def local_folder(name: str | os.PathLike[str] | None = None) -> Path | None:
    """Return the folder of the bundled model (None), or an existing one; None for any other name."""
    if name is None:
        return bundled_folder()
    folder = checked_path("model", name)
    with suppress(RuntimeError):  # the home of nobody that is known
        folder = folder.expanduser()
    return folder if folder.exists() else None


def resolve(name: str | os.PathLike[str] | None = None, **download: Any) -> Path:
    """Return the folder of a model: None is the bundled one, then an existing folder, then a hub id, ``owner/name``.

    ``download`` goes to ``huggingface_hub.snapshot_download`` (``revision``, ``cache_dir``, ``token``, ...), which is
    asked for ``config.json``, then for the other files of a model folder if it is one of ours, and never when ``name``
    looks like a path. Raises ModelError.
    """
    folder = local_folder(name)
    if folder is not None:
        return folder
    if not isinstance(name, str) or _looks_like_a_path(name):
        path = os.path.expanduser(name or "")
        raise ModelError(f"The model folder {path} does not exist; check the path, or give a hub id (owner/name).")
    folder = fetch(name, [CONFIG], **download)
    return folder if is_foreign(folder) else fetch(name, [*FILES, CONFIDENCE, EXPORT, "*.onnx"], **download)


def _looks_like_a_path(name: str) -> bool:
    """Return whether ``name`` can't be ``owner/name``: ``runs/mine`` is a path where there is a folder ``runs``."""
    return (
        name.startswith((os.sep, ".", "~"))
        or "\\" in name
        or name.count("/") != 1
        or Path(name.partition("/")[0]).is_dir()
    )


def fetch(repo_id: str, files: Sequence[str], **download: Any) -> Path:
    """Return the folder of the hub's cache, with those of ``files`` that a repository has; raises ModelError."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(snapshot_download(repo_id, allow_patterns=[*files], **download))
    except HFValidationError:
        raise ModelError(f"{repo_id!r} is neither a folder here nor a hub id (owner/name); check the name.") from None
    except GatedRepoError:
        raise ModelError(
            f"The model {repo_id} asks for consent on the hub; give it there, then run `hf auth login`."
        ) from None
    except RepositoryNotFoundError:
        raise ModelError(
            f"There is no folder {repo_id} here and no such model on the hub; check the name "
            "(or, if it is private, log in with `hf auth login`)."
        ) from None
    except RevisionNotFoundError:
        raise ModelError(f"The model {repo_id} has no revision {download.get('revision')!r}; choose another.") from None
    except LocalEntryNotFoundError:
        raise ModelError(
            f"There is no folder {repo_id} here, it was not downloaded before, and the hub can't be reached; "
            "check the name or the network."
        ) from None
    except Exception as error:  # the network's errors have no common parent that the hub's library names
        raise ModelError(f"The model {repo_id} can't be downloaded ({first_line(error)}); try again later.") from error


def check_push(repo_id: str) -> None:
    """Raise ConfigError where ``repo_id`` is no hub id, or nobody is logged in, before anything is made to push."""
    from huggingface_hub import get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError:
        raise ConfigError(f"{repo_id!r} is no hub id; give owner/name.") from None
    if get_token() is None:
        raise ConfigError(f"Nobody is logged in to push {repo_id}; run `hf auth login`, or set HF_TOKEN.")


def push_folder(folder: Path, repo_id: str) -> str:
    """Upload the files of a model folder, which the hub's repository is made for if need be; return its address.

    Of a run's folder only the model goes: no checkpoint, no log. Raises ModelError.
    """
    from huggingface_hub import HfApi

    api = HfApi(library_name="wordgaze")
    try:
        address = api.create_repo(repo_id, exist_ok=True)
        api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            allow_patterns=[*FILES, CONFIDENCE],
            commit_message="Upload a model of wordgaze",
        )
    except Exception as error:  # the network's errors have no common parent that the hub's library names
        raise ModelError(
            f"The model is whole in {folder}, but {repo_id} could not be pushed ({first_line(error)}); try again with "
            "the same command, which has nothing left to train."
        ) from error
    return str(address)
