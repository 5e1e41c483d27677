"""How much the door takes, looked at before anything is made of it."""

import io
import json
import threading
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from itertools import islice
from typing import Any

import pytest
from flask.testing import FlaskClient

from backend.server.limits import RequestLimits
from tests.fakes import (
    MODEL_VERSION,
    ColourSegmenter,
    brush_config,
    make_predictor,
    picture,
)
from tests.serving import BODY, SETUP, client_of, never_called, predict_body


def limited(**limits: int) -> FlaskClient:
    """A backend that must not get as far as the model."""
    predictor = make_predictor(ColourSegmenter(), segmenter=never_called)
    return client_of(predictor, limits=RequestLimits(**limits))


class Unread(io.RawIOBase):
    """A body that must not be read."""

    def readable(self) -> bool:
        return True

    def readinto(self, _: Any) -> int:
        raise AssertionError("the body was read")


@pytest.mark.parametrize("path", ["/predict", "/setup"])
def test_a_large_body_is_refused_unread(path: str) -> None:
    answer = limited(max_bytes=2000).post(
        path, environ_overrides={"wsgi.input": Unread(), "CONTENT_LENGTH": "2001"}
    )

    assert answer.status_code == 413
    assert answer.json["error"]["message"] == (
        f"The body of {path} has 2,001 bytes; the limit is 2,000. Send fewer tasks at "
        f"once, use `diffsegmenter preannotate`, or raise REQUEST_MAX_BYTES."
    )


def test_a_body_without_length_is_read_as_far_as_the_limit() -> None:
    body = io.BytesIO(b" " * 1_000_000)

    answer = limited(max_bytes=2000).post(
        "/predict",
        environ_overrides={
            "wsgi.input": body,
            "wsgi.input_terminated": True,
            "HTTP_TRANSFER_ENCODING": "chunked",
        },
    )

    assert answer.status_code == 413
    assert "has more bytes than the limit, 2,000." in answer.json["error"]["message"]
    assert body.tell() <= 70_000


def test_a_body_of_the_limit_is_taken(segmenter: ColourSegmenter) -> None:
    body = json.dumps(BODY).encode()
    limits = RequestLimits(max_bytes=len(body))

    answer = client_of(make_predictor(segmenter), limits=limits).post(
        "/predict", data=body
    )

    assert answer.status_code == 200


def test_tasks_are_counted_before_any_is_looked_at() -> None:
    body = predict_body(*[picture("red")] * 4)

    answer = limited(max_tasks=3).post("/predict", json=body)

    assert answer.status_code == 400
    assert answer.json["error"]["message"] == (
        "The request has 4 tasks; the limit is 3. Select fewer, use `diffsegmenter "
        "preannotate`, or raise REQUEST_MAX_TASKS."
    )


@pytest.mark.parametrize("what", [b"{}", b"[]"])
def test_objects_are_counted_before_they_are_made(what: bytes) -> None:
    # No JSON, in the end: whoever parses it says so.
    body = b'{"tasks": [' + what + (b"," + what) * 1_000_000 + b"]"

    answer = limited().post("/predict", data=body)

    assert answer.status_code == 400
    assert "has 1,000,003 objects and lists" in answer.json["error"]["message"]
    assert "the limit is 1,000,000" in answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("config", "told"),
    [
        pytest.param(
            brush_config('<Label value="cat"/>' * 60_000),
            "characters; the limit is 1,000,000. Use fewer or shorter labels.",
            id="many-labels",
        ),
        pytest.param(
            brush_config(f'<Label value="{"x" * 10_001}"/>'),
            "has an attribute 'value' of more than 10,000 characters.",
            id="long-label",
        ),
        pytest.param(
            brush_config(f"<Label alias = '{'x' * 10_001}' value='cat'/>"),
            "has an attribute 'alias' of more than 10,000 characters.",
            id="long-alias",
        ),
    ],
)
@pytest.mark.parametrize(
    ("path", "name"), [("predict", "label_config"), ("setup", "schema")]
)
def test_a_config_that_takes_minutes_to_read_is_refused(
    path: str, name: str, config: str, told: str
) -> None:
    body = {**BODY, **SETUP, name: config}

    answer = limited().post(f"/{path}", json=body)

    assert answer.status_code == 400
    assert told in answer.json["error"]["message"]


def test_a_config_with_long_texts_between_its_labels_is_read() -> None:
    style = ".red { color: 'red' } " * 2000
    config = brush_config('<Label value="red"/>').replace(
        "<View>", f"<View><Style>{style}</Style>"
    )

    answer = limited().post("/setup", json={**SETUP, "schema": config})

    assert answer.status_code == 200


class Gate:
    """Holds up whoever comes, and counts them."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.arrived = threading.Semaphore(0)

    def __call__(self, _: str) -> str:
        self.arrived.release()
        assert self.opened.wait(30)
        return MODEL_VERSION


def test_more_setups_than_can_be_looked_at_are_told_to_come_again() -> None:
    gate = Gate()
    gate.opened.set()
    client = client_of(make_predictor(ColourSegmenter(), version_of=gate))
    gate.opened.clear()
    for _ in range(1000):  # those of the making
        if not gate.arrived.acquire(blocking=False):
            break

    def setup(_: int) -> Any:
        return client.application.test_client().post("/setup", json=SETUP)

    with ThreadPoolExecutor(50) as pool:
        asked = [pool.submit(setup, n) for n in range(50)]
        try:
            for _ in range(4):
                assert gate.arrived.acquire(timeout=20)
            refused = wait_for(46, asked)
            # Nobody but the first four got in.
            assert not gate.arrived.acquire(blocking=False)
        finally:
            gate.opened.set()

    assert sorted(it.result().status_code for it in asked) == [200] * 4 + [503] * 46
    assert refused[0].headers["Retry-After"] == "5"
    assert "Too many requests" in refused[0].json["error"]["message"]


def wait_for(number: int, asked: "list[Future[Any]]") -> list[Any]:
    """The first so many answers."""
    return [it.result() for it in islice(as_completed(asked, 20), number)]


@pytest.mark.parametrize(
    "fault",
    [
        ConnectionResetError(104, "Connection reset by peer"),
        TimeoutError("timed out"),
        ValueError("chunk"),
    ],
    ids=["reset", "timeout", "chunk"],
)
def test_a_body_that_breaks_off_is_one_line(
    fault: Exception, unloaded: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, _: Any) -> int:
            raise fault

    answer = unloaded.post(
        "/predict",
        environ_overrides={"wsgi.input": Broken(), "CONTENT_LENGTH": "100"},
    )

    assert answer.status_code == 400
    assert "did not arrive whole" in answer.json["error"]["message"]
    (record,) = caplog.records
    assert record.exc_info is None


def test_webhooks_need_the_secret_where_there_is_one() -> None:
    secret = "a-secret-of-16-and-more"
    client = client_of(
        make_predictor(ColourSegmenter()),
        webhook_secret=secret,
        basic_auth=("me", "word"),
    )

    def post(path: str) -> int:
        return client.post(path, json={}).status_code

    assert post("/webhook") == 403
    assert post("/webhook?secret=another") == 403
    assert post("/webhook?secret=%ED%A0%80%FF") == 403
    assert post(f"/webhook?secret={secret}") == 200
    assert post(f"/{secret}/webhook") == 200
    # It is no password.
    assert post(f"/{secret}/predict") == 401
    assert client.get(f"/{secret}/health", auth=("me", "word")).status_code == 200


def test_webhooks_need_no_secret_where_there_is_none(unloaded: FlaskClient) -> None:
    assert unloaded.post("/webhook", json={}).status_code == 200
