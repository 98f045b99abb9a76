"""onnx.checker on every model of make.ts: well formed, in order, every operator of ONNX with the types that it takes."""

import json
import sys
from pathlib import Path

import onnx

root = Path(sys.argv[1])
passed, failures = 0, []
for case in json.loads((root / "cases.json").read_text())["cases"]:
    path = Path(case["folder"]) / case["file"]
    try:
        onnx.checker.check_model(str(path), full_check="portable" in case["name"])
        passed += 1
    except Exception as error:
        failures.append(case["name"])
        print("FAIL", case["name"], error)
print(f"onnx.checker: {passed} passed, {len(failures)} failed")
Path(sys.argv[2]).write_text(json.dumps({"passed": passed, "failed": len(failures)}) + "\n")
sys.exit(1 if failures else 0)
