"""A comparison in words, and as a page of its own."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from pipeline.compare import SAME, CaseDifference, Comparison, PartDifference, TaskDifference

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.3rem .6rem;"
    "border-bottom:1px solid #ddd}th{font-weight:600}.unexplained{background:#fde8e8}"
    "small{color:#666}ul{margin:0;padding-left:1.2rem}"
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def in_words(comparison: Comparison) -> str:
    """Return a comparison as plain text: a line a task, then what differs, case by case, with why."""
    lines = [line for task in comparison.tasks for line in _task_lines(task)]
    lines += [f"{name}: only in the first" for name in comparison.only_first]
    lines += [f"{name}: only in the second" for name in comparison.only_second]
    return "\n".join(lines)


def _task_lines(task: TaskDifference) -> Iterator[str]:
    counts = ", ".join(f"{count} {state}" for state, count in task.counts.items())
    yield f"{task.task}: {counts or 'no case'}"
    for key, (one, other) in task.dataset.items():
        yield f"  dataset.json {key}: {one} -> {other}"
    for reason in task.why:
        yield f"  changed: {reason}"
    for case in task.cases:
        if case.state != SAME:
            yield f"  {case.case}: {case.state}{_stage(case)}"
            yield from (f"    {name}: {text}" for name, text in _parts(case))
            # What holds for the task was said once above.
            yield from (f"    why: {reason}" for reason in case.why if reason not in task.why)
            if case.is_explained is False:
                yield "    why: nothing in the manifests explains it"


def _stage(case: CaseDifference) -> str:
    return f", first seen in {case.stage}" if case.stage else ""


def _parts(case: CaseDifference) -> Iterator[tuple[str, str]]:
    for name, part in case.parts.items():
        if part.state != SAME:
            yield name, part_in_words(part)


def part_in_words(part: PartDifference) -> str:
    """Return how an image or label differs, with numbers."""
    found = part.volume
    if found is None:
        return part.state
    if found.affine_mm is None:
        return f"another shape: {' -> '.join(found.header.get('dim', ('', '')))}"
    words = [f"{found.differing} of {found.voxels} voxels differ"]
    if found.differing:
        words.append(f"by at most {found.largest} at {list(found.at)}")
    if found.not_finite:
        words.append(f"{found.not_finite} finite on one side alone")
    if found.reversed:
        words.append(f"the second is the first reversed along {', '.join(found.reversed)}")
    words.append(f"corners {found.affine_mm} mm apart")
    words += [f"{name} {one or 'empty'} -> {other or 'empty'}" for name, (one, other) in found.header.items()]
    words += [
        f"class {value}: {one} -> {other} voxels, {both} in both"
        for value, (one, other, both) in found.classes.items()
        if not one == other == both
    ]
    return "; ".join(words)


def page(comparison: Comparison) -> str:
    """Return a comparison as one HTML document that loads nothing and runs nothing; all texts are escaped."""
    body = "".join(_section(task) for task in comparison.tasks)
    for place, names in (("first", comparison.only_first), ("second", comparison.only_second)):
        body += "".join(f"<h2>{escape(name)}</h2><p>Only in the {place}.</p>" for name in names)
    verdict = (
        "Nothing differs." if comparison.is_same else f"{len(comparison.unexplained)} cases unexplained."
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>Comparison</title><style>{_STYLE}</style></head><body><h1>Comparison</h1><p>{verdict}</p>"
        f"{body}</body></html>\n"
    )


def _section(task: TaskDifference) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in task.counts.items())
    changed = [str(reason) for reason in task.why]
    changed += [f"dataset.json {key}: {one} -> {other}" for key, (one, other) in task.dataset.items()]
    rows = "".join(_row(case) for case in task.cases if case.state != SAME)
    table = f"<table><tr><th>case<th>state<th>what<th>why</tr>{rows}</table>" if rows else ""
    return f"<h2>{escape(task.task)}</h2><p>{escape(counts)}</p>{_list(changed)}{table}"


def _row(case: CaseDifference) -> str:
    mark = ' class="unexplained"' if case.is_explained is False else ""
    what = _list([f"{name}: {text}" for name, text in _parts(case)])
    why = [str(reason) for reason in case.why]
    why += ["nothing in the manifests explains it"] if case.is_explained is False else []
    state = f"{escape(case.state)}<br><small>{escape(_stage(case).lstrip(', '))}</small>"
    return f"<tr{mark}><td>{escape(case.case)}<td>{state}<td>{what}<td>{_list(why)}</tr>"


def _list(texts: list[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(text)}' for text in texts)}</ul>" if texts else ""
