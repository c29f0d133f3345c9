"""The table of docs/groups.md, from the records that scripts/relatedness.sh left in a folder for each variant."""

import json
import statistics
import sys
from pathlib import Path

VARIANTS = {
    "gem": "`gem`",
    "gem_group-relatedness": "`gem_group`, relatedness",
    "gem_group-without": "`gem_group`, the margin alone",
    "gem_group-random": "`gem_group`, relatedness, random groups",
    "gem_group-unit": "`gem_group`, relatedness, per-unit groups",
    "agem_closed": "`agem_closed`",
    "agem_group-relatedness": "`agem_group`, relatedness",
    "agem_group-without": "`agem_group`, plain mean",
    "agem_group-random": "`agem_group`, relatedness, random groups",
    "agem_group-unit": "`agem_group`, relatedness, per-unit groups",
}


def spread(values: list[float]) -> str:
    """The mean and the standard deviation over runs."""
    deviation = f"{statistics.stdev(values):.3f}" if len(values) > 1 else "X"
    return f"{statistics.mean(values):.3f} ± {deviation}"


def main(folder: str) -> None:
    print("| method | n | final accuracy | backward | diverged |\n|---|---|---|---|---|")
    for variant, title in VARIANTS.items():
        records = [json.loads(path.read_text()) for path in sorted(Path(folder, variant).glob("*.json"))]
        done = [record for record in records if record["status"] == "done"]
        numbers = [spread([record[key] for record in done]) if done else "X" for key in ("final", "backward")]
        print("|", " | ".join([title, str(len(done)), *numbers, str(len(records) - len(done))]), "|")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "results/runs/relatedness/")
