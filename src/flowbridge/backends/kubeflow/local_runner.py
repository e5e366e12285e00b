"""``python -m flowbridge.backends.kubeflow.local_runner FILE ARGUMENTS KEEP [RUN FOLDER ...]``: run one pipeline file with kfp's local runner.

With RUN each task is a container, which has the folders.

The file's folder is removed at the end unless KEEP is ``keep``: then whoever waits for the run does that.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

KEEP = "keep"


def main(arguments: Sequence[str]) -> int:
    """Run the pipeline; 0 where kfp saw every task succeed."""
    from kfp import components, local  # noqa: PLC0415  (this process is for kfp alone)

    path, given, keep, *containers = arguments
    with tempfile.TemporaryDirectory(prefix="flowbridge-kfp-root-") as root:
        runner = local.SubprocessRunner(use_venv=False)
        if containers:
            from flowbridge.backends.kubeflow.local_docker import use_containers  # noqa: PLC0415

            use_containers(containers[0], containers[1:])
            runner = local.DockerRunner()
        local.init(runner=runner, pipeline_root=root, raise_on_error=True)
        pipeline = components.load_component_from_file(path)
        try:
            pipeline(**json.loads(given))
        except RuntimeError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        finally:
            if keep != KEEP:
                shutil.rmtree(Path(path).parent, ignore_errors=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
