"""Make up the hospitals and persons of the phantom; none of them exists."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields

import numpy as np

from pipeline.demo.anatomy import chance

_SYLLABLES = (
    "vor", "nal", "tib", "ram", "zug", "kel", "osh", "wim", "dra", "quo", "bex", "lym", "fen", "mur",
    "gha", "pli", "sto", "yar", "hul", "jod", "wex", "tru", "nif", "zal", "gro", "kip", "dwe", "orv",
    "umb", "esk", "ilt", "ask",
)  # fmt: skip
"""Building stones of names that nobody has."""

_ACCENTS = {
    "ISO_IR 6": str.maketrans({}),
    "ISO_IR 100": str.maketrans({"o": "ö", "u": "ü", "e": "é"}),
    "ISO_IR 192": str.maketrans({"o": "ő", "a": "ą", "l": "ł", "i": "ї"}),
}
"""How a site's character set (PS3.3 C.12.1.1.2) shows in its names."""


@dataclass(frozen=True, slots=True)
class Site:
    """One hospital with one scanner: what it writes into every file."""

    vendor: str
    manufacturer: str
    model: str
    software: str
    character_set: str
    syntax: str
    layout: str
    institution: str
    address: str
    department: str
    serial: str
    pacs: str
    is_signed: bool
    pads: bool = False

    @property
    def station(self) -> str:
        """What the scanner is called at the site."""
        return f"ROOM{self.serial.replace('-', '')[-5:]}"


SITES: tuple[Site, ...] = (
    Site("ge", "GE MEDICAL SYSTEMS", "G", "gmp_vct.42_phantom", "ISO_IR 100", "explicit", "flat",
         "Klinik Ostwimdra", "Kelzugweg 17, 99871 Ostwimdra", "Radiologie Haus Fenlym", "GE-SN-7731-QX",
         "GEPACS_OSTW", is_signed=True, pads=True),
    Site("siemens", "SIEMENS", "S", "syngo phantom VB20B", "ISO_IR 100", "implicit", "nested",
         "Universitätsklinikum Murgha", "Plistogasse 4, 88802 Murgha", "Institut Tibosh", "S-66104-WKM",
         "SIEPACS_MURG", is_signed=False),
    Site("philips", "Philips Medical Systems", "P", "5.3.1\\5.3.1.phantom", "ISO_IR 192", "jpeg-ls",
         "uid", "Szpital Quobex", "ul. Hulyarska 212, 00-777 Quobexów", "Zakład Nifzal", "PH-00918-ZUG",
         "PHIPACS_QUOB", is_signed=False),
    Site("canon", "CANON_MEC", "C", "V7.0PHANTOM003", "ISO_IR 192", "jpeg-lossless", "named",
         "Jodwex General Hospital", "9 Truskel Crescent, Jodwex JX4 7QQ", "Imaging Wing Dwegro",
         "CN-4471-ORVUMB", "CANPACS_JODW", is_signed=False),
    Site("ge", "GE MEDICAL SYSTEMS", "G", "27_LX_MR_phantom", "ISO_IR 6", "big-endian", "nested",
         "Saint Eskilt Infirmary", "1 Umborv Parade, Eskilt 20917", "Dept. Hulyar", "GE-SN-1180-NIF",
         "GEPACS_ESKI", is_signed=True),
    Site("siemens", "Siemens HealthCare GmbH", "S", "syngo phantom XA30", "ISO_IR 192", "jpeg2000",
         "named", "Hôpital Zalgro", "33 rue Kipdwe, 77190 Zalgro", "Service Wexorv", "S-20377-LYM",
         "SIEPACS_ZALG", is_signed=False),
    Site("philips", "Philips", "P", "10.4.phantom", "ISO_IR 100", "deflated", "flat",
         "Ziekenhuis Yartru", "Ghapli-laan 81, 5590 ZZ Yartru", "Afdeling Askbex", "PH-77102-JOD",
         "PHIPACS_YART", is_signed=True),
    Site("canon", "TOSHIBA", "C", "V4.86PHANTOM", "ISO_IR 6", "rle", "uid", "Drakel Memorial Hospital",
         "500 Stozug Avenue, Drakel 61044", "Imaging Center Nalfen", "CN-9915-TIB", "CANPACS_DRAK",
         is_signed=False),
)  # fmt: skip
"""Eight made-up hospitals: four vendors, eight transfer syntaxes."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One made-up patient, in all the words that would find them; every field is to be kept from a release."""

    family: str
    given: str
    patient_name: str
    other_name: str
    mother: str
    patient_id: str
    other_id: str
    birth_date: str
    study_date: str
    street: str
    phone: str
    accession: str
    study_id: str
    referring: str
    performing: str
    reading: str
    operator: str
    requesting: str
    order: str
    procedure_id: str
    comment: str
    study_description: str
    private_note: str
    folder: str

    def strings(self) -> frozenset[str]:
        """Return every text that names this person, as planted."""
        return frozenset((self.family.title(), *(getattr(self, field.name) for field in fields(self))))


def uid(*words: str | int) -> str:
    """Return a made-up UID, 2.25. and 128 bits of a hash (PS3.5 B.2), the same for the same words."""
    return f"2.25.{int.from_bytes(hashlib.sha256('/'.join(map(str, words)).encode()).digest()[:16], 'big')}"


def _word(rng: np.random.Generator, syllables: int, accents: dict[int, str]) -> str:
    return "".join(rng.choice(_SYLLABLES, syllables)).translate(accents)


def _person(rng: np.random.Generator, accents: dict[int, str]) -> str:
    return f"{_word(rng, 3, accents).title()}^{_word(rng, 2, accents).title()}"


def _date(rng: np.random.Generator, first: int, last: int) -> str:
    year, month, day = rng.integers(first, last), rng.integers(1, 13), rng.integers(1, 29)
    return f"{year:04d}{month:02d}{day:02d}"


def patient(site: Site, *, seed: tuple[str | int, ...]) -> Identity:
    """Return the made-up patient of one seed, in the spelling of the site."""
    rng, accents = chance("patient", *seed), _ACCENTS[site.character_set]
    family, given = _word(rng, 3, accents), _word(rng, 2, accents)
    maiden = _word(rng, 3, accents)
    number = int(rng.integers(10_000_000, 99_999_999))
    birth = _date(rng, 1931, 1999)
    staff = [_person(rng, accents) for _ in range(5)]
    patient_id = f"{site.vendor[:1].upper()}Q-{number}"
    return Identity(
        family=family.upper(),
        given=given.title(),
        patient_name=f"{family.upper()}^{given.title()}",
        other_name=f"{maiden.upper()}^{given.title()}",
        mother=f"{maiden.title()}^{_word(rng, 2, accents).title()}",
        patient_id=patient_id,
        other_id=f"INS-{int(rng.integers(100_000, 999_999))}-{_word(rng, 1, {}).upper()}",
        birth_date=birth,
        study_date=_date(rng, 2003, 2017),
        street=f"{_word(rng, 3, accents).title()} Road {int(rng.integers(2, 300))}",
        phone=f"+00 5550 {int(rng.integers(1_000_000, 9_999_999))}",
        accession=f"ACC{int(rng.integers(1_000_000, 9_999_999))}",
        study_id=f"ST{int(rng.integers(10_000, 99_999))}Z",
        referring=staff[0],
        performing=staff[1],
        reading=staff[2],
        operator=staff[3],
        requesting=staff[4],
        order=f"ORD-{int(rng.integers(100_000, 999_999))}",
        procedure_id=f"RPX{int(rng.integers(100_000, 999_999))}",
        comment=f"please phone {given.title()} {family.title()} at home",
        study_description=f"Staging for {family.title()}, {given.title()}",
        private_note=f"{family.upper()};{birth};{patient_id}",
        folder=_folder(site, family, given, number),
    )


def _folder(site: Site, family: str, given: str, number: int) -> str:
    """Return the subject's folder name as the site's export would call it."""
    if site.layout == "named":
        return f"{family.title()}, {given.title()} ({number})"
    if site.layout == "nested":
        return f"{family.upper()} {given.upper()}"
    return f"PAT_{number}_{family.title()}"
