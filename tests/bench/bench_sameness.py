"""Whether another commit answers alike: `python -m tests.bench.bench_sameness`.

    git worktree add --detach BASE b789f02 && make -C BASE dev
    python -m tests.bench.bench_sameness --baseline BASE

Requests that hypothesis makes: pictures of the pocket world of any shape up to 400
pixels, one or two controls with labels that are there and that are not, and attributes.
`diffsegmenter serve` of both commits with the pocket model is asked each of them; this
one twice, so that regions that are drawn and those that are known are both compared.
Regions must be the same to the last run length, but for ids and scores, which later
versions make in another way.
"""

import argparse
import json
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from segmenter.pocket import WORDS, render_scene
from tests.bench.http_load import post_json, wait_until_ready
from tests.e2e.backend_process import running_backend
from tests.e2e.processes import REPOSITORY
from tests.fakes import data_uri, encoded

LABELS: Final = (*WORDS, "zebra crossing", "Ünfug")
TAGS: Final = ("BrushLabels", "PolygonLabels", "RectangleLabels", "BitmaskLabels")
# Of scenes that nothing was chosen on.
_FIRST_SEED: Final = 1_500_000


def _attributes() -> st.SearchStrategy[dict[str, str]]:
    share = st.floats(0.05, 0.95).map(lambda value: f"{value:.2f}")
    return st.fixed_dictionaries(
        {},
        optional={
            "model_score_threshold": share,
            "model_presence_threshold": st.one_of(st.just("0"), share),
            "model_overlap": st.sampled_from(["exclusive", "independent"]),
            "model_regions": st.sampled_from(["label", "part"]),
            "model_boundaries": st.sampled_from(["guided", "off"]),
            "model_min_area": st.sampled_from(["0", "0.001", "0.01"]),
            "model_max_regions": st.sampled_from(["1", "3", "20"]),
        },
    )


@st.composite
def _controls(draw: st.DrawFn, number: int) -> str:
    tag = draw(st.sampled_from(TAGS))
    labels = draw(
        st.lists(st.sampled_from(LABELS), min_size=1, max_size=6, unique=True)
    )
    written = "".join(f' {k}="{v}"' for k, v in draw(_attributes()).items())
    inside = "".join(f'<Label value="{label}"/>' for label in labels)
    return f'<{tag} name="t{number}" toName="image"{written}>{inside}</{tag}>'


@st.composite
def _requests(draw: st.DrawFn) -> dict[str, Any]:
    controls = [draw(_controls(n)) for n in range(draw(st.integers(1, 2)))]
    tasks = []
    for task_id in range(1, draw(st.integers(1, 2)) + 1):
        scene = render_scene(_FIRST_SEED + draw(st.integers(0, 10_000)))
        size_xy = draw(st.integers(24, 400)), draw(st.integers(24, 400))
        kind = draw(st.sampled_from(["PNG", "JPEG"]))
        picture = encoded(Image.fromarray(scene.image).resize(size_xy), kind)
        address = data_uri(picture, f"image/{kind.lower()}")
        tasks.append({"id": task_id, "data": {"image": address}})
    return {
        "tasks": tasks,
        "label_config": f'<View><Image name="image" value="$image"/>'
        f"{''.join(controls)}</View>",
        "project": "1.2",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--baseline",
        type=Path,
        default=REPOSITORY,
        help="a checkout of an older commit; else a second server of this one",
    )
    parser.add_argument("--requests", type=int, default=500)
    asked = parser.parse_args()
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        now, baseline = (
            stack.enter_context(
                running_backend(
                    cache_dir=place / name,
                    log_path=place / name / "serve.log",
                    environment={"OMP_NUM_THREADS": "1"},
                    source=source.resolve(),
                )
            ).url
            for name, source in (("now", REPOSITORY), ("baseline", asked.baseline))
        )
        for url in (now, baseline):
            wait_until_ready(url)
        found: Counter[str] = Counter()

        @seed(0)
        @settings(
            max_examples=asked.requests,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(_requests())
        def compare(request: dict[str, Any]) -> None:
            body = json.dumps(request).encode()
            drawn, known = (post_json(now, body) for _ in range(2))
            before = _regions(post_json(baseline, body))
            found["requests"] += 1
            found["regions"] += sum(len(task) for task in before)
            found["requests with a region"] += any(before)
            assert known == drawn
            if _regions(drawn) != before:
                found["requests that differ"] += 1
                found["regions that differ"] += _differing(_regions(drawn), before)
                if found["requests that differ"] <= 3:
                    Console(stderr=True).print(request["label_config"], markup=False)

        compare()
    Console().print(", ".join(f"{n:,} {name}" for name, n in found.items()))


def _regions(answer: Any) -> list[list[Any]]:
    """Of each task, without what tells commits apart."""
    return [
        [
            {name: told for name, told in region.items() if name not in {"id", "score"}}
            for region in (prediction or {"result": []})["result"]
        ]
        for prediction in answer["results"]
    ]


def _differing(now: list[list[Any]], before: list[list[Any]]) -> int:
    return sum(
        abs(len(a) - len(b)) + sum(x != y for x, y in zip(a, b, strict=False))
        for a, b in zip(now, before, strict=True)
    )


if __name__ == "__main__":
    main()
