from typing import Any

import pytest

from backend.errors import BadRequest
from backend.label_studio.requests import parse_predict, parse_setup
from backend.types import Task, TypedPrompt

TASK = {"id": 7, "data": {"image": "/data/upload/1/a.png"}}


def predict_body(**fields: Any) -> dict[str, Any]:
    return {"tasks": [TASK], "label_config": "<View/>", **fields}


def test_parse_predict_reads_what_label_studio_sends() -> None:
    body = predict_body(
        project="1.1795346673",
        params={"login": None, "password": None, "context": None},
    )

    request = parse_predict(body)

    assert request.tasks == (Task(id=7, data={"image": "/data/upload/1/a.png"}),)
    assert request.label_config == "<View/>"
    assert request.project == "1.1795346673"
    assert not request.is_interactive


@pytest.mark.parametrize(
    "element",
    [
        pytest.param(None, id="null"),
        pytest.param("a.png", id="text"),
        pytest.param([TASK], id="list"),
        pytest.param({}, id="no-fields"),
        pytest.param({"id": "7", "data": "a.png"}, id="fields-of-other-kinds"),
    ],
)
def test_parse_predict_keeps_the_place_of_an_element_that_is_no_task(
    element: Any,
) -> None:
    request = parse_predict(predict_body(tasks=[TASK, element, TASK]))

    assert [task.id for task in request.tasks] == [7, None, 7]
    assert request.tasks[1].data == {}


@pytest.mark.parametrize(
    ("tasks", "told"),
    [
        pytest.param(None, "'tasks' is missing", id="none"),
        pytest.param([], "'tasks' is an empty list", id="empty"),
        pytest.param({"0": TASK}, "'tasks' is a dict", id="object"),
        pytest.param("", "'tasks' is an empty str", id="text"),
    ],
)
def test_parse_predict_refuses_a_request_without_tasks(tasks: Any, told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        parse_predict(predict_body(tasks=tasks))


@pytest.mark.parametrize(
    ("label_config", "told"),
    [
        pytest.param(None, "'label_config' is missing", id="none"),
        pytest.param("", "'label_config' is an empty str", id="empty"),
        pytest.param(" \n", "'label_config' is a str", id="blank"),
        pytest.param(["<View/>"], "'label_config' is a list", id="list"),
    ],
)
def test_parse_predict_refuses_a_request_without_label_config(
    label_config: Any, told: str
) -> None:
    with pytest.raises(BadRequest, match=told):
        parse_predict(predict_body(label_config=label_config))


@pytest.mark.parametrize("payload", [None, [], [TASK], "tasks", 1, True])
def test_parse_predict_refuses_a_body_that_is_no_object(payload: Any) -> None:
    with pytest.raises(BadRequest, match="send a JSON object"):
        parse_predict(payload)


@pytest.mark.parametrize(
    ("params", "is_interactive"),
    [
        pytest.param({"context": {"result": []}}, True, id="context"),
        pytest.param({"context": {}}, False, id="empty-context"),
        pytest.param({"context": None}, False, id="null-context"),
        pytest.param({}, False, id="no-context"),
        pytest.param(None, False, id="null"),
        pytest.param([1], False, id="list"),
    ],
)
def test_parse_predict_tells_the_editor_from_a_batch(
    params: Any, is_interactive: bool
) -> None:
    request = parse_predict(predict_body(params=params))

    assert request.is_interactive == is_interactive


def typed(**changed: Any) -> dict[str, Any]:
    region = {
        "id": "t",
        "type": "textarea",
        "from_name": "prompt",
        "to_name": "image",
        "value": {"text": ["cats", " brown dog "]},
    }
    return region | changed


def test_parse_predict_reads_what_was_typed_last() -> None:
    context = {"result": [typed(value={"text": ["house"]}), typed()]}

    request = parse_predict(predict_body(params={"context": context}))

    assert request.is_interactive
    assert request.typed == TypedPrompt(
        from_name="prompt", to_name="image", text="brown dog"
    )


@pytest.mark.parametrize(
    "result",
    [
        pytest.param([{"type": "keypointlabels", "from_name": "kp"}], id="click"),
        pytest.param([typed(), {"type": "brushlabels", "id": "t"}], id="of-a-region"),
        pytest.param([typed(value={"text": []})], id="nothing-typed"),
        pytest.param([typed(value={"text": [7]})], id="no-text"),
        pytest.param([typed(value="cats")], id="no-value"),
        pytest.param([typed(from_name=None)], id="no-from_name"),
        pytest.param([typed(to_name=["image"])], id="odd-to_name"),
        pytest.param([], id="empty"),
        pytest.param({"0": typed()}, id="no-list"),
    ],
)
def test_parse_predict_finds_nothing_typed_in(result: Any) -> None:
    request = parse_predict(predict_body(params={"context": {"result": result}}))

    assert request.is_interactive
    assert request.typed is None


@pytest.mark.parametrize(
    ("project", "read"),
    [
        pytest.param("1.2", "1.2", id="text"),
        pytest.param(" 1.2 ", "1.2", id="blanks-around"),
        pytest.param(12, "12", id="number"),
        pytest.param("", None, id="empty"),
        pytest.param(True, None, id="bool"),
        pytest.param({"id": 1}, None, id="object"),
    ],
)
def test_parse_predict_reads_a_project_that_is_text_or_number(
    project: Any, read: str | None
) -> None:
    assert parse_predict(predict_body(project=project)).project == read


def test_parse_setup_reads_what_label_studio_sends() -> None:
    setup = parse_setup(
        {
            "project": "1.1795346673",
            "schema": "<View/>",
            "hostname": "http://127.0.0.1:8080",
            "access_token": "legacy",
            "extra_params": {"k": 1},
        }
    )

    assert setup.project == "1.1795346673"
    assert setup.label_config == "<View/>"
    assert setup.hostname == "http://127.0.0.1:8080"
    assert setup.access_token == "legacy"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="nothing"),
        pytest.param(
            dict.fromkeys(["project", "schema", "hostname", "access_token"]), id="nulls"
        ),
        pytest.param(
            {key: [1] for key in ["project", "schema", "hostname", "access_token"]},
            id="other-kinds",
        ),
    ],
)
def test_parse_setup_bears_missing_fields(body: dict[str, Any]) -> None:
    setup = parse_setup(body)

    assert (setup.project, setup.hostname, setup.access_token) == (None, None, None)
    assert setup.label_config == ""


@pytest.mark.parametrize("payload", [None, [], "x", 3])
def test_parse_setup_refuses_a_body_that_is_no_object(payload: Any) -> None:
    with pytest.raises(BadRequest, match="/setup got"):
        parse_setup(payload)


def test_repr_of_a_setup_never_shows_the_token() -> None:
    setup = parse_setup({"project": "1.2", "access_token": "s3cret"})

    assert "s3cret" not in repr(setup)
    assert "s3cret" not in f"{setup}"
