import pytest

from backend.errors import BadLabelConfig
from backend.label_config import read_drawn_tags
from backend.types import ImageTag

CONFIG = """<View>
  <Image name="photo" value="$image"/>
  <Image name="scan" valueList="$pages"/>
  <Text name="note" value="$text"/>
  <Labels name="words" toName="note"><Label value="verb"/></Labels>
  <PolygonLabels name="b" toName="photo" model_skip="true">
    <Label value="tree"/><Label value="Katze" alias="cat"/>
  </PolygonLabels>
  <BrushLabels name="a" toName="scan">
    <Label value="cat"/><Label value="dog"/>
  </BrushLabels>
  <Labels name="c" toName="photo,scan"><Label value="house"/></Labels>
  <Brush name="d" toName="photo,scan"/>
  <Choices name="e" toName="photo"><Choice value="blurred"/></Choices>
</View>"""


def test_images_and_labels_come_in_the_configs_order_and_once() -> None:
    tags = read_drawn_tags(CONFIG)

    assert list(tags.images.values()) == [
        ImageTag(name="photo", value="$image"),
        ImageTag(name="scan", value="$pages", is_list=True),
    ]
    assert tags.labels == ("tree", "cat", "dog", "house")


def test_a_config_whose_labels_are_all_in_the_tasks_has_none_of_its_own() -> None:
    tags = read_drawn_tags(
        '<View><Image name="i" value="$i"/>'
        '<BrushLabels name="b" toName="i" value="$labels"/></View>'
    )

    assert tags.labels == ()


@pytest.mark.parametrize(
    ("config", "says"),
    [("<View>", "cannot be read"), ("<View/>", "has no <Image> tag")],
)
def test_a_config_without_images_is_refused(config: str, says: str) -> None:
    with pytest.raises(BadLabelConfig, match=says):
        read_drawn_tags(config)
