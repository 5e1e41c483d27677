"""The base class, without what our adapter has no use for.

The original keeps its values in a sqlite file; here they are in a dict.
"""

from abc import ABC
from typing import Any

from label_studio_sdk.label_interface import LabelInterface

CACHE: dict[tuple[str, str], str] = {}


class LabelStudioMLBase(ABC):  # noqa: B024, as in the original
    INITIAL_MODEL_VERSION = "0.0.1"

    def __init__(
        self, project_id: str | None = None, label_config: str | None = None
    ) -> None:
        self.project_id = project_id or ""
        if label_config is not None:
            self.use_label_config(label_config)
        if not self.model_version:
            self.set("model_version", self.INITIAL_MODEL_VERSION)
        self.setup()

    def setup(self) -> None:  # noqa: B027, as in the original
        pass

    def use_label_config(self, label_config: str) -> None:
        self.label_interface = LabelInterface(config=label_config)
        self.set("label_config", label_config)

    def set_extra_params(self, extra_params: Any) -> None:
        self.set("extra_params", extra_params)

    def get(self, key: str) -> str | None:
        return CACHE.get((self.project_id, key))

    def set(self, key: str, value: str) -> None:
        if not isinstance(value, str):
            raise ValueError("Value must be a string")
        CACHE[self.project_id, key] = value

    @property
    def label_config(self) -> str | None:
        return self.get("label_config")

    @property
    def model_version(self) -> str | None:
        return self.get("model_version")

    def predict(
        self, tasks: list[dict[str, Any]], context: Any = None, **kwargs: Any
    ) -> Any:
        return None

    def fit(self, event: str, data: Any, **kwargs: Any) -> Any:
        return None
