"""What the checks of model folders in Python share: each folder below argv[1], the logits of our forward pass in it, a report to argv[2]."""

import json
import sys
from pathlib import Path

import numpy as np
import torch


def floats(folder, name="logits.f32"):
    """Logits that we have written, `[tokens * vocabulary]`."""
    return np.fromfile(folder / name, dtype=np.float32)


def token_ids(folder):
    """Ids of the one sequence that the logits are of, `[1, tokens]`."""
    return torch.tensor([json.loads((folder / "ids.json").read_text())])


def logits(model, ids):
    """Logits of a model of Python, as `floats` has ours."""
    with torch.no_grad():
        return model(ids).logits[0].float().numpy().ravel()


def check_folders(check):
    """Calls `check(folder)` for each folder, which gives whether it is good and what to print; writes the report, and ends the process."""
    passed, failed = 0, 0
    for folder in sorted(Path(sys.argv[1]).iterdir()):
        try:
            good, words = check(folder)
        except Exception as error:  # a folder that does not load is a failure of the check, with the loader's words
            good, words = False, f"{type(error).__name__}: {error}"
        print(f"{'ok  ' if good else 'FAIL'} {folder.name}: {words}")
        passed, failed = passed + good, failed + (not good)
    Path(sys.argv[2]).write_text(json.dumps({"passed": passed, "failed": failed, "skipped": 0}))
    sys.exit(1 if failed else 0)
