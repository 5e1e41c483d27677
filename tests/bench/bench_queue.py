"""What the queue of `preannotate` costs, and what more workers bring.

    python -m tests.bench.bench_queue [--sleep-s 0.25] [--pictures 96]

Real processes, a real Redis and a real Label Studio (SQLite below) on this machine;
only the model is none: it sleeps so long per picture, so that a machine of few cores
can show what several of them do. A worker has one model, and two jobs under way.

Scaling: a fresh project, and a fresh Redis, for each run. The rate is of the pictures
stored after the first bulk, from the first stored prediction to the last, by Label
Studio's own times. Every worker gets as many pictures as the one in the first row, so
that beginning and end weigh the same. The last row's model does not sleep: that is what
Label Studio, Redis and all workers take of this machine together.

Per image: the model does not sleep either. Medians of three rounds in alternation.

Redis: calls and bytes of whole runs, with the looks of whoever watches. The cached maps
of these small pictures are small; what those of real pictures weigh, says
`bench_cache`. Memory is of the jobs and records of so many tasks, in jobs of 128.

On paper: what is multiplied out of all these, see `on_paper.py`.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Final

from rich.console import Console

from tests.bench.label_studio_costs import costs_table, measure_costs
from tests.bench.on_paper import Figures, paper_table
from tests.bench.queue_overhead import overhead_table
from tests.bench.queue_redis import measure_memory, traffic_table
from tests.bench.queue_rig import Rig
from tests.bench.queue_scaling import scaling_table
from tests.e2e.label_studio import label_studio_process, new_label_studio
from tests.e2e.label_studio_api import api_with_legacy_token

PICTURES: Final = 256
PROJECT_SIZES: Final = (1000, 20_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sleep-s", type=float, default=0.25)
    parser.add_argument("--pictures", type=int, default=96, help="per worker")
    asked = parser.parse_args()
    console = Console(width=150)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        server = new_label_studio(folder=place / "data")
        with (
            label_studio_process(server, log_path=place / "ls.log") as process,
            api_with_legacy_token(server.url, server.legacy_token) as api,
        ):
            rig = Rig(server, api, process.pid, place)
            console.print(scaling_table(rig, asked.sleep_s, asked.pictures))
            console.print(overhead_table(rig, PICTURES))
            console.print(traffic_table(rig, PICTURES))
        memory = measure_memory()
        console.print(memory.table())
        costs = measure_costs(server, PROJECT_SIZES, log_path=place / "ls.log")
        console.print(costs_table(costs))
    console.print(
        paper_table(
            Figures(
                queue_bytes=memory.queue_bytes,
                records_bytes=memory.records_bytes,
                costs=costs,
            )
        )
    )


if __name__ == "__main__":
    main()
