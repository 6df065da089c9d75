"""A report as one page of HTML: what `tables` says, and curves. Pure."""

from __future__ import annotations

import json

from motley.console.report import tables
from motley.console.report.html_page import page
from motley.console.report.html_page.svg_chart import Series, chart
from motley.console.report.report import Report
from motley.console.view.figures import duration, loss, percent, rate


def report_page(report: Report) -> str:
    marks = [(float(one.step), f"step {one.step}: {tables.moved(one)}") for one in report.decisions]
    marks += [
        (float(one.step_before), f"step {one.step_before}: {one.host} {one.cause}")
        for one in report.regroups
        if one.step_before is not None
    ]
    held_out = tuple((float(one.step), one.loss) for one in report.evaluations if one.loss is not None)
    accuracy = tuple((float(one.step), one.accuracy) for one in report.evaluations if one.accuracy is not None)
    settings = [(key, json.dumps(value, ensure_ascii=False)) for key, value in report.settings.items()]
    parts = [
        page.paragraphs(report.notes, "note"),
        page.facts(tables.facts(report)),
        page.section("why it failed", page.paragraphs([t for t in (report.cause, *report.failed_with) if t], "bad")),
        page.section(
            "curves",
            chart(f"{report.counted}/s", [Series(report.counted, report.throughput)], marks=marks, label=rate),
            chart("loss", [Series("training", report.losses), Series("held out", held_out)], marks=marks, label=loss),
            chart("accuracy, held out", [Series("accuracy", accuracy)], label=lambda y: percent(y, 0)),
            chart(
                "shares over time",
                [Series(one.host, one.points) for one in report.shares] if len(report.shares) > 1 else [],
                label=lambda y: percent(y, 0),
                marks=marks,
            ),
        ),
        page.table(tables.evaluations_table(report)),
        page.table(tables.hosts_table(report)),
        page.table(tables.decisions_table(report)),
        page.section("what balancing saved", page.paragraphs(tables.balance_lines(report))),
        page.table(tables.regroups_table(report)),
        page.section("goodput", page.paragraphs(tables.goodput_lines(report))),
        page.table(tables.happened_table(report)),
        page.section("settings", page.facts(settings)),
    ]
    took = f", {duration(report.seconds)}" if report.seconds is not None else ""
    return page.page(tables.headline(report), parts, footer=f"motley report '{report.run}'{took}")
