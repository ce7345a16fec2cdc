"""The dataset card: README.md with front matter as Hugging Face reads it."""

from __future__ import annotations

import json

from pipeline.metadata.facts import Facts, TaskFacts

_HEAD = "| task | what | channels | classes | training | test |\n|---|---|---|---|---|---|\n"
_CHECK = """\
Each task is one TAR, laid out as in the Medical Segmentation Decathlon: `dataset.json`, `imagesTr`, `labelsTr` and
`imagesTs`.
Labels of test cases are withheld. The manifest beside each TAR says what was done to every case, and why others were
refused. `sha256sum -c SHA256SUMS` checks the files; `curate audit` checks that the manifests hold.
"""


def write(facts: Facts) -> dict[str, bytes]:
    """Return README.md; its `cases` configuration is metadata.jsonl."""
    terms = facts.publication
    matter = {
        "pretty_name": terms.title,
        "license": terms.licence.lower(),
        "task_categories": ["image-segmentation"],
        "tags": ["medical", "nifti", *sorted({task.name for task in facts.tasks})],
        "configs": [{"config_name": "cases", "data_files": "metadata.jsonl"}],
    }
    # JSON is YAML, so nothing in a title can end the front matter or change its meaning.
    front = "".join(f"{name}: {json.dumps(value)}\n" for name, value in matter.items())
    names = "; ".join(creator.full_name for creator in terms.creators)
    text = (
        f"---\n{front}---\n# {_plain(terms.title)}\n\n{_plain(terms.description)}\n\n{_HEAD}"
        f"{''.join(_row(task) for task in facts.tasks)}\n{_CHECK}\n"
        f"Version {_plain(terms.version)}, {terms.date}. {_plain(names)}. {_plain(terms.publisher)}.\n"
        f"Licence: [{terms.licence}]({terms.licence_url}).\n"
    )
    return {"README.md": text.encode()}


def _row(task: TaskFacts) -> str:
    cells = (
        f"`{task.name}`", _plain(task.description), _plain(", ".join(task.channels)), _plain(", ".join(task.classes)),
        str(task.counts["training"]), str(task.counts["test"]),
    )  # fmt: skip
    return f"| {' | '.join(cells)} |\n"


def _plain(text: str) -> str:
    """Return a text that stays in its line and cell, and holds no markup of its own."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
    return " ".join(escaped.split())
