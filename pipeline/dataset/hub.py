"""Pushes a finished data set to the Hugging Face hub. The token comes from the environment and is never stored."""

from __future__ import annotations

import os
import re
from pathlib import Path

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
)
"""The data, its card and its task, from which configs can be written. Trainers' configs and caches stay here."""


def push(folder: Path, repo: str, *, public: bool) -> str:
    """Uploads a data set, replacing an earlier one in the same repository; returns its URL.

    Raises:
        BadInput: no token, an invalid name, a leaking split, an existing repository of the other visibility, or the hub
            refuses or can't be reached.
    """
    from huggingface_hub import HfApi

    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise BadInput(f"a data set on the hub is named ORG/NAME, got '{repo}'.")
    token = os.environ.get(TOKEN)
    if not token:
        raise BadInput(
            f"the hub requires a token: set {TOKEN} to one with write access (huggingface.co/settings/tokens)."
        )
    split.check(folder)
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token)
    try:
        url = api.create_repo(repo, repo_type="dataset", private=not public, exist_ok=True)
        private = bool(api.dataset_info(repo).private)
        if private == public:
            is_, asked = ("private", "public") if private else ("public", "private")
            raise BadInput(
                f"{repo} already exists and is {is_}, not {asked}; nothing was uploaded: "
                f"{'leave out' if public else 'add'} --public, or choose another name."
            )
        LOG.info("uploading the data set to %s", repo)
        api.upload_folder(
            repo_id=repo,
            repo_type="dataset",
            folder_path=folder,
            allow_patterns=list(UPLOADED),
            delete_patterns=list(UPLOADED[1:]),
            commit_message=f"{counted(split.entries(folder), 'grid')}, by iclora",
        )
    except BadInput:
        raise
    except Exception as error:  # the errors of a connection are those of an HTTP library that the hub's client changes
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadInput(f"{repo} can't be uploaded to the hub: {reason.rstrip('.')}.") from error
    return str(url)
