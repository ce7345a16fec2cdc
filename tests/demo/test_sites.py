from __future__ import annotations

import re

import pytest

from pipeline.demo.objects import SYNTAXES
from pipeline.demo.sites import SITES, Site, patient, uid

every_site = pytest.mark.parametrize("site", SITES, ids=lambda site: site.institution)
ENCODINGS = {"ISO_IR 6": "ascii", "ISO_IR 100": "latin-1", "ISO_IR 192": "utf-8"}


def test_every_site_writes_another_syntax_and_every_vendor_two() -> None:
    assert {site.syntax for site in SITES} == set(SYNTAXES)
    assert sorted(site.vendor for site in SITES) == sorted(["canon", "ge", "philips", "siemens"] * 2)


@every_site
def test_every_text_can_be_written_in_the_sites_character_set(site: Site) -> None:
    for number in range(20):
        for text in patient(site, seed=(number,)).strings():
            assert text.encode(ENCODINGS[site.character_set])


@every_site
def test_character_sets_are_used_where_a_site_has_one(site: Site) -> None:
    names = "".join(patient(site, seed=(number,)).patient_name for number in range(10))

    assert names.isascii() == (site.character_set == "ISO_IR 6")


@every_site
def test_every_text_is_distinctive(site: Site) -> None:
    for number in range(20):
        assert min(map(len, patient(site, seed=(number,)).strings())) >= 4


def test_the_same_seed_is_the_same_person_and_another_is_another() -> None:
    people = [patient(SITES[0], seed=(seed, "Task", 0)) for seed in (1, 1, 2)]

    assert people[0] == people[1] != people[2]
    assert not people[0].strings() & people[2].strings()


def test_a_uid_is_valid_and_depends_on_every_word() -> None:
    made = {uid("study", 0, task, index) for task in "ab" for index in range(5)}

    assert len(made) == 10
    assert all(re.fullmatch(r"2\.25\.(0|[1-9]\d*)", text) and len(text) <= 64 for text in made)
