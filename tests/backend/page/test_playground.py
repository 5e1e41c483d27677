"""What the playground's routes draw: colours of planted pictures."""

import base64
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from tests.backend.page.test_guard import token_of
from tests.fakes import ColourSegmenter, make_predictor, picture
from tests.serving import client_of

_LABELS = "red\nblue, green,red"


def data_of(address: str) -> bytes:
    return base64.b64decode(address.partition(",")[2])


def post(client: FlaskClient, route: str, **body: Any) -> Any:
    headers = {"X-Page-Token": token_of(client)}
    return client.post(f"/page/{route}", json=body, headers=headers)


def upload(client: FlaskClient, data: bytes) -> Any:
    headers = {"X-Page-Token": token_of(client)}
    return client.post("/page/pictures", data=data, headers=headers)


def chosen(client: FlaskClient, *colours: str) -> str:
    answer = upload(client, data_of(picture(*colours)))
    assert answer.status_code == 200
    return str(answer.json["picture"])


def labels_of(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 200, answer.json
    return {
        label["name"]: label
        for control in answer.json["controls"]
        for label in control["labels"]
    }


def mask_of(label: Any) -> Any:
    with Image.open(BytesIO(data_of(label["mask"]))) as image:
        return np.asarray(image.convert("RGBA"))[..., 3] > 0


def test_masks_are_where_the_labels_are(client: FlaskClient) -> None:
    name = chosen(client, "red", "blue")

    found = labels_of(post(client, "masks", picture=name, labels=_LABELS))

    assert list(found) == ["red", "blue", "green"]
    red, blue = mask_of(found["red"]), mask_of(found["blue"])
    columns = red.shape[1] // 2
    assert red[:, :columns].all()
    assert not red[:, columns:].any()
    assert (blue == ~red).all()
    assert found["green"]["mask"] is None
    assert found["red"]["share"] == 0.5
    assert 0 < found["red"]["score"] <= 1


def test_picture_is_shown_as_it_was_chosen(client: FlaskClient) -> None:
    name = chosen(client, "red", "blue")

    answer = client.get(f"/page/pictures/{name}")

    assert answer.mimetype == "image/jpeg"
    with Image.open(BytesIO(answer.data)) as shown:
        left, right = np.asarray(shown)[2, [1, -2]].astype(int)
    assert abs(left - (255, 0, 0)).max() < 12
    assert abs(right - (0, 0, 255)).max() < 12


def test_thresholds_are_written_into_the_config_and_need_no_pass(
    client: FlaskClient, segmenter: ColourSegmenter
) -> None:
    name = chosen(client, "red", "blue")
    first = post(client, "masks", picture=name, labels=_LABELS)

    again = post(
        client,
        "masks",
        picture=name,
        labels=_LABELS,
        threshold=0.25,
        presence_threshold=0.75,
        boundaries="off",
    )

    assert (first.json["passes"], again.json["passes"]) == (1, 0)
    assert segmenter.calls == 1
    config = again.json["config"]
    for attribute in (
        'model_score_threshold="0.25"',
        'model_presence_threshold="0.75"',
        'model_boundaries="off"',
    ):
        assert attribute in config
    assert again.json["variables"] == (
        "MODEL_SCORE_THRESHOLD=0.25\nPRESENCE_THRESHOLD=0.75\nBOUNDARIES=off\n"
    )
    assert again.json["controls"][0]["threshold"] == 0.25


def test_label_config_counts_with_all_that_it_says(client: FlaskClient) -> None:
    config = """<View><!-- kept --><Image name="i" valueList="$pages"/>
      <PolygonLabels name="p" toName="i"><Label value="rouge" model_prompt="red"
      model_presence_threshold="1"/><Label value="blue" model_skip="true"/>
      </PolygonLabels><BrushLabels name="b" toName="i"><Label value="blue"/>
      </BrushLabels></View>"""
    name = chosen(client, "red", "blue")

    answer = post(client, "masks", picture=name, label_config=config)

    found = labels_of(answer)
    assert [c["name"] for c in answer.json["controls"]] == ["p", "b"]
    assert found["rouge"]["prompts"] == ["red"]
    assert found["rouge"]["presence_threshold"] == 1
    assert mask_of(found["rouge"]).mean() == pytest.approx(0.5, abs=0.05)
    assert answer.json["config"] == config
    assert found["rouge"]["colour"] != found["blue"]["colour"]


def test_click_redraws_one_object_and_leaves_the_scene_before(
    client: FlaskClient,
) -> None:
    name = chosen(client, "red", "blue")
    before = post(client, "masks", picture=name, labels="red, blue")
    asked = {
        "scene": before.json["scene"],
        "control": "tag",
        "label": "red",
        "points": [{"x": 20, "y": 50, "is_positive": True}],
    }

    one = post(client, "clicks", **asked)
    two = post(client, "clicks", **asked)

    assert one.json["changed"]
    assert labels_of(one)["blue"]["mask"] == labels_of(before)["blue"]["mask"]
    assert mask_of(labels_of(one)["red"])[:, 1].any()
    assert labels_of(one) == labels_of(two)
    assert one.json["scene"] != two.json["scene"]


def test_relevance_map_is_a_picture_of_the_scores(client: FlaskClient) -> None:
    name = chosen(client, "red", "blue")
    answer = post(client, "masks", picture=name, labels="red")
    scene, place = answer.json["scene"], labels_of(answer)["red"]["map"]

    shown = client.get(f"/page/scenes/{scene}/{place}.png")

    with Image.open(BytesIO(shown.data)) as image:
        bright = np.asarray(image.convert("L")).astype(int)
    assert bright[:, 0].mean() > bright[:, -1].mean() + 100
    assert client.get(f"/page/scenes/{scene}/0/9.png").status_code == 404
    assert client.get(f"/page/scenes/{scene}/7/0.png").status_code == 404


@pytest.mark.parametrize(
    ("route", "body", "status", "said"),
    [
        pytest.param("masks", {"labels": "red"}, 410, "Choose it again", id="gone"),
        pytest.param("masks", {"picture": [1], "labels": "red"}, 410, "", id="odd"),
        pytest.param("masks", {"labels": " ,\n"}, 400, "no labels", id="no-labels"),
        pytest.param("masks", {}, 400, "labels is missing", id="nothing"),
        pytest.param("clicks", {}, 400, "control is missing", id="no-click"),
        pytest.param(
            "clicks",
            {"control": "tag", "label": "red", "points": [{"x": 101, "y": 1}]},
            400,
            "x is 101",
            id="click-outside",
        ),
        pytest.param(
            "clicks",
            {"control": "tag", "label": "red", "points": [{}] * 101},
            400,
            "at most 100",
            id="too-many-clicks",
        ),
        pytest.param(
            "clicks",
            {"control": "tag", "label": "red", "box": {"x": "1"}},
            400,
            "x is missing",
            id="odd-box",
        ),
        pytest.param("tasks", {"project": 1, "task": 1}, 400, "LABEL_STUDIO", id="ls"),
        pytest.param("tasks", {"project": -1}, 400, "project is -1", id="number"),
        pytest.param("addresses", {"address": "x:/y"}, 422, "x:/y", id="address"),
    ],
)
def test_bad_input_is_told_with_its_remedy(
    route: str, body: dict[str, Any], status: int, said: str, client: FlaskClient
) -> None:
    answer = post(client, route, **body)

    assert answer.status_code == status
    assert said in answer.json["error"]["message"]


def test_bad_thresholds_and_configs_are_told(client: FlaskClient) -> None:
    name = chosen(client, "red")

    for extra, said in (
        ({"threshold": 7}, "model_score_threshold='7'"),
        ({"threshold": [1]}, "threshold is a list"),
        ({"threshold": True}, "threshold is a bool"),
        ({"label_config": "<View/>"}, "One that works"),
        ({"label_config": "<View"}, "cannot be read"),
    ):
        answer = post(client, "masks", picture=name, **{"labels": "red", **extra})
        assert answer.status_code == 400
        assert said in answer.json["error"]["message"]


def test_file_that_is_no_picture_is_told(client: FlaskClient) -> None:
    answer = upload(client, b"<svg>no picture</svg>")

    assert answer.status_code == 422
    assert "the chosen file" in answer.json["error"]["message"]


def test_malicious_config_is_refused_before_it_is_changed(client: FlaskClient) -> None:
    name = chosen(client, "red")
    config = '<!DOCTYPE View [<!ENTITY a "b">]><View>&a;</View>'

    answer = post(client, "masks", picture=name, label_config=config, threshold=0.5)

    assert answer.status_code == 400


def test_what_is_tried_is_not_among_kept_answers() -> None:
    predictor = make_predictor(ColourSegmenter())
    client = client_of(predictor)

    name = chosen(client, "red")
    post(client, "masks", picture=name, labels="red")

    # Score maps are kept, as for any request; tasks are not counted.
    assert b'diffsegmenter_tasks_total{outcome="predicted"}' not in (
        predictor.metrics.render()
    )
