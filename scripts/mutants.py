"""A random sample of one module's mutants: python scripts/mutants.py N MODULE TEST ... in a copy of the checkout.

mutmut makes the mutants. Each is written in the module's place and tried by a copy of this process, which has loaded the
libraries: that takes a second, and no test is run twice beforehand. The tests run in the order given, up to the first that
fails; so name the quickest ones first. Called by scripts/mutation.sh.
"""

import difflib
import os
import random
import resource
import sys
from pathlib import Path

sys.dont_write_bytecode = True  # the module's text changes faster than the times of files tell
sys.path.insert(0, os.getcwd())

import hypothesis  # noqa: F401
import numpy  # noqa: F401
import pytest
import quadprog  # noqa: F401
import torch
from mutmut.mutation.file_mutation import create_mutations

SECONDS = 120  # of processor time; a mutant that takes longer never ends, and is noticed
KILLED = 1  # pytest's exit status where a test failed


def mutants(source: str, path: str, n: int, seed: int = 0) -> tuple[list[str], int]:
    """``n`` of the mutants of a source (all if there are fewer), each as a whole source; and how many there are."""
    module, mutations, *_ = create_mutations(path, source)
    chosen = random.Random(seed).sample(mutations, n) if n < len(mutations) else mutations
    texts = [module.deep_replace(m.original_node, m.mutated_node).code for m in chosen]
    return [text for text in texts if text != source], len(mutations)


def status(tests: list[str]) -> int:
    """pytest's exit status in a process of its own; negative if a signal ended it."""
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1), os.dup2(nothing, 2)
        given = ["-x", "-q", "-p", "no:cacheprovider", "-k", "not thousand and not 300_steps and not in_any_order"]
        os._exit(int(pytest.main([*given, *tests])))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(n: int, path: str, tests: list[str]) -> None:
    torch.set_num_threads(1)
    source = Path(path).read_text()
    chosen, total = mutants(source, path, n)
    if status(tests):
        raise SystemExit(f"{path}: {' '.join(tests)} fail without any change")
    survived = 0
    for text in chosen:
        Path(path).write_text(text)
        try:
            code = status(tests)
        finally:
            Path(path).write_text(source)
        if code != KILLED and code >= 0 and code != 2:  # 2: the module cannot be imported any more
            survived += 1
            changes = difflib.unified_diff(source.splitlines(), text.splitlines(), n=0, lineterm="")
            print(
                "   survived:", *[line for line in changes if line[:2] not in ("--", "++")], sep="\n      ", flush=True
            )
    killed = len(chosen) - survived
    print(f"{path}: {killed} of {len(chosen)} killed ({killed / len(chosen):.1%}), of {total} in all", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
