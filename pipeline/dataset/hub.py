"""A finished data set onto the Hugging Face hub. The token comes from the environment and is written nowhere."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pipeline.dataset import split
from pipeline.dataset.samples import MASKS
from pipeline.dataset.split import HELD_OUT, TRAIN
from pipeline.errors import BadInput

TOKEN = "HF_TOKEN"
SENT = (
    "README.md",
    *(f"{side}/{files}" for side in (TRAIN, HELD_OUT) for files in ("*.png", "*.txt", "metadata.jsonl")),
    *(f"{masks}/*.png" for masks in MASKS.values()),
)
"""The data and its card. Configs stay here: they name folders of this machine. So do the caches that trainers leave."""


def push(folder: Path, repo: str, *, public: bool) -> str:
    """Sends a data set, and takes away what an earlier one has left in its place; where it can be seen.

    Raises:
        BadInput: no token, no such name, an unsound split, a repository of the other kind, or the hub refuses or is
            not to be reached.
    """
    from huggingface_hub import HfApi

    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise BadInput(f"a data set on the hub has a name like ORG/NAME, got '{repo}'.")
    token = os.environ.get(TOKEN)
    if not token:
        raise BadInput(f"the hub wants a token: set {TOKEN} to one that may write (huggingface.co/settings/tokens).")
    split.check(folder)
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token)
    try:
        url = api.create_repo(repo, repo_type="dataset", private=not public, exist_ok=True)
        private = bool(api.dataset_info(repo).private)
        if private == public:
            is_, asked = ("private", "public") if private else ("public", "private")
            raise BadInput(
                f"{repo} is there already and {is_}, not {asked}; nothing was sent: "
                f"{'leave out' if public else 'say'} --public, or name another."
            )
        api.upload_folder(
            repo_id=repo,
            repo_type="dataset",
            folder_path=folder,
            allow_patterns=list(SENT),
            delete_patterns=list(SENT[1:]),
            commit_message=f"{len(split.entries(folder))} grids, by iclora",
        )
    except BadInput:
        raise
    except Exception as error:  # the errors of a connection are those of an HTTP library that the hub's client changes
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadInput(f"{repo} can't be sent to the hub: {reason.rstrip('.')}.") from error
    return str(url)
