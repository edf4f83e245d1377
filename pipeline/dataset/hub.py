"""Sends folders to the Hugging Face hub. The token comes from the environment and is never stored."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pipeline.dataset import portable, split
from pipeline.dataset.samples import MASKS
from pipeline.dataset.split import HELD_OUT, TRAIN
from pipeline.errors import BadInput
from pipeline.progress import LOG
from pipeline.wording import counted

TOKEN = "HF_TOKEN"
UPLOADED = (
    "README.md",
    portable.FILE,
    *(f"{side}/{files}" for side in (TRAIN, HELD_OUT) for files in ("*.png", "*.txt", "metadata.jsonl")),
    *(f"{masks}/*.png" for masks in MASKS.values()),
    "control_*/*.png",
    "parquet/*.parquet",
)
"""The data, its card and its task, from which configs can be written. Trainers' configs and caches stay here."""

Kind = Literal["dataset", "model"]
WORDS: dict[Kind, str] = {"dataset": "data set", "model": "LoRA"}


def push(folder: Path, repo: str, *, public: bool) -> str:
    """Uploads a data set, replacing an earlier one in the same repository; returns its URL.

    Raises:
        BadInput: a leaking split, and what `upload` refuses.
    """
    split.check(folder)
    message = f"{counted(split.entries(folder), 'picture')}, by iclora"
    return upload(folder, repo, "dataset", UPLOADED, message, public=public)


def upload(folder: Path, repo: str, kind: Kind, patterns: Sequence[str], message: str, *, public: bool) -> str:
    """Uploads a folder, replacing what an earlier upload left in the same repository; returns its URL.

    Args:
        patterns: of the files that belong to it; the first is its card, which is never deleted.
        message: of the commit.

    Raises:
        BadInput: no token, an invalid name, an existing repository of the other visibility, or the hub refuses or
            can't be reached.
    """
    from huggingface_hub import HfApi

    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise BadInput(f"a {WORDS[kind]} on the hub is named ORG/NAME, got '{repo}'.")
    token = os.environ.get(TOKEN)
    if not token:
        raise BadInput(
            f"the hub requires a token: set {TOKEN} to one with write access (huggingface.co/settings/tokens)."
        )
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token)
    try:
        url = api.create_repo(repo, repo_type=kind, private=not public, exist_ok=True)
        private = bool(api.repo_info(repo, repo_type=kind).private)
        if private == public:
            is_, asked = ("private", "public") if private else ("public", "private")
            raise BadInput(
                f"{repo} already exists and is {is_}, not {asked}; nothing was uploaded: "
                f"{'leave out' if public else 'add'} --public, or choose another name."
            )
        LOG.info("uploading the %s to %s", WORDS[kind], repo)
        api.upload_folder(
            repo_id=repo,
            repo_type=kind,
            folder_path=folder,
            allow_patterns=list(patterns),
            delete_patterns=list(patterns[1:]),
            commit_message=message,
        )
    except BadInput:
        raise
    except Exception as error:  # the errors of a connection are those of an HTTP library that the hub's client changes
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadInput(f"{repo} can't be uploaded to the hub: {reason.rstrip('.')}.") from error
    return str(url)
