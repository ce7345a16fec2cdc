"""Who publishes a release, when and under which terms: what no data can tell, so people write it down."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

_Text = Annotated[str, Field(min_length=1, max_length=10_000)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Creator(_Part):
    """A person (`family` and `given`) or an organisation (`name`)."""

    name: _Text | None = None
    family: _Text | None = None
    given: _Text | None = None
    orcid: Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{4}-[0-9]{4}-[0-9]{3}[0-9X]$")] | None = None
    affiliation: _Text | None = None

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Creator:
        is_person = bool(self.family and self.given)
        if is_person == bool(self.name) or bool(self.family) != bool(self.given):
            raise ValueError("wanted either name, or family and given")
        return self

    @property
    def full_name(self) -> str:
        """The name as a list of authors has it."""
        return self.name or f"{self.family}, {self.given}"


class Publication(_Part):
    """The terms of a release, as `curate.yaml` gives them under `publication`."""

    title: _Text
    description: _Text
    creators: tuple[Creator, ...] = Field(min_length=1)
    publisher: _Text
    date: str = Field(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$")
    version: _Text
    licence: str = Field(pattern=r"^[A-Za-z0-9.+-]+$", description="SPDX identifier, such as CC-BY-SA-4.0.")
    doi: Annotated[str, Field(pattern=r"^10\.[0-9]{4,9}/[!-~]+$")] | None = None
    url: Annotated[str, Field(pattern=r"^https?://[!-~]+$")] | None = None

    @model_validator(mode="after")
    def _can_be_found(self) -> Publication:
        if not (self.doi or self.url):
            raise ValueError("wanted a doi or a url")
        return self

    @property
    def licence_url(self) -> str:
        """Where the licence's text is."""
        return f"https://spdx.org/licenses/{self.licence}.html"

    @property
    def home(self) -> str:
        """Where the release can be found: its DOI, else its address."""
        return f"https://doi.org/{self.doi}" if self.doi else str(self.url)
