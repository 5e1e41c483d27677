import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.export.names import UniqueNames


def claimed(*addresses: str) -> list[str]:
    names = UniqueNames()
    return [
        "".join(names.claim(address, addition=f"task{number}"))
        for number, address in enumerate(addresses, start=1)
    ]


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("/data/upload/1/69e929fc-im0.png", "69e929fc-im0.png"),
        ("http://host/data/local-files/?d=a%20b/x%201.JPG", "x 1.JPG"),
        ("/data/local-files/?d=a\\b.tif", "b.tif"),
        ("s3://bucket/folder/Stra%C3%9Fe%20(2).jpeg", "Straße (2).jpeg"),
        ("https://host/photo.jpg?width=5&token=abc", "photo.jpg"),
        ("https://host/v1.2/picture", "picture"),
        ("https://host/picture.tar.gz", "picture.tar.gz"),
        ("https://host/", "task1"),
        ("https://host/.jpg", "jpg"),
        ("data:image/png;base64,AAAA", "task1"),
        ("http://[bad/x.png", "task1"),
        ("s3://b/a%0Ab%2F..%2Fc:d*e.png", "c_d_e.png"),
        ("s3://b/a%0Ab.png", "a_b.png"),
        ("s3://b/\ud800.png", "_.png"),
    ],
)
def test_an_image_is_called_as_its_file(address: str, name: str) -> None:
    assert claimed(address) == [name]


def test_names_differ_in_more_than_case_and_suffix() -> None:
    found = claimed(
        "s3://a/x.jpg", "s3://b/X.png", "s3://c/x-task4.jpg", "s3://d/x.jpg"
    )

    assert found == ["x.jpg", "X-task2.png", "x-task4.jpg", "x-task4-2.jpg"]


@given(st.lists(st.text(max_size=80), max_size=12))
def test_any_address_gets_a_name_of_its_own_that_can_be_a_file(
    addresses: list[str],
) -> None:
    names = UniqueNames()
    stems = [
        names.claim(address, addition=f"task{number}")[0]
        for number, address in enumerate(addresses)
    ]

    assert len({stem.casefold() for stem in stems}) == len(addresses)
    for stem in stems:
        assert stem == stem.strip()
        assert [stem] == stem.splitlines()
        assert not set(stem) & set('/\\:*?"<>|\0')
        assert stem not in (".", "..")
        assert 0 < len(stem.encode()) <= 250
