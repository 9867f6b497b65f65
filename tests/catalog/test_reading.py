"""From files to apps: what is accepted, and with which line and reason the rest is refused."""

import pytest

from server.catalog.controls.choices import Select
from server.catalog.files import FileList
from server.catalog.model import App
from server.catalog.reading import read_app, read_workflow
from server.catalog.xml import MAX_FILE_BYTES, BadXml, read_document
from tests.catalog.building import ALL_SCHEMAS, app, tool

STRING = '<string name="p" label="P"/>'


def read(data: bytes | str) -> App:
    return read_app(read_document(data if isinstance(data, bytes) else data.encode(), ALL_SCHEMAS).root)


def problems(data: bytes | str) -> list[tuple[int, str]]:
    with pytest.raises(BadXml) as refusal:
        read(data)
    return list(refusal.value.problems)


def test_an_app_is_read_with_all_that_it_says() -> None:
    found = app(
        '<select name="d" label="D" hidden="x" config_path="y" help="h" url="u" url_label="l" visibility="advanced">'
        '<option value="a" selected="false" command="-a"> One </option><option value="b"/></select>'
        '<filelist name="f" label="F" multiple="true" is_folder="true" is_raw_input="false" format="d" value=""/>',
        category="C",
        description="D",
        url="U",
        hidden="true",
        end_tag="Done\\n",
        end_tag_location="report.txt",
        convert_config_to="yaml",
        version_command="run --version",
    )
    assert (found.id, found.name, found.version, found.category, found.description) == ("app_1", "App", "1", "C", "D")
    assert (found.hidden, found.config_format, found.version_command) == (True, "yaml", "run --version")
    assert (found.end_tag, found.end_tag_location) == ("Done\\n", "report.txt")
    select, files = found.sections[0].items
    assert isinstance(select, Select)
    assert [(option.value, option.label, option.selected) for option in select.options] == [("a", "One", True), ("b", "", False)]
    assert isinstance(files, FileList)
    assert (files.multiple, files.is_folder, files.shared, files.convert, files.formats) == (True, True, False, False, ("d",))


@pytest.mark.parametrize("value", ["true", "false", "x"])
def test_an_app_is_hidden_by_anything_but_false(value: str) -> None:
    assert app(hidden=value).hidden is (value != "false")


@pytest.mark.parametrize(
    "before",
    [
        "",
        "\ufeff",
        "\n\n  ",
        '<?xml version="1.0"?>\n',
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?><!-- a <tool> -->\n<?pi x?>\n<!--\n-->',
        "\r\n<!-- c -->\r\n",
    ],
)
def test_the_text_begins_with_the_root_element(before: str) -> None:
    text = tool(STRING)
    document = read_document((before + text + "\n<!-- after -->\n").encode(), ALL_SCHEMAS)
    assert document.text == text + "\n<!-- after -->"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1", "windows-1252"])
def test_files_of_other_encodings_are_understood(encoding: str) -> None:
    text = f'<?xml version="1.0" encoding="{encoding}"?>' + tool(STRING, name="Größe")
    data = text.replace("utf-8-sig", "utf-8").encode(encoding)
    assert read(data).name == "Größe"
    assert 'name="Größe"' in read_document(data, ALL_SCHEMAS).text


def test_an_error_is_found_at_its_line_whatever_stands_before_the_root() -> None:
    text = '<?xml version="1.0"?>\n<!--\n\n-->\n' + tool('<string name="p"/>')
    assert problems(text) == [(7, "Element 'string': The attribute 'label' is required but missing.")]


def test_all_errors_of_a_file_are_reported() -> None:
    text = tool('<string name="p"/>\n<number name="q"/>\n<checkbox name="r" label="R" value="maybe"/>')
    assert {line for line, _ in problems(text)} == {3, 4, 5}


PAIRS = '<keyvalues name="p" label="P" label_key="K" label_value="V"{}>{}</keyvalues>'
WHEN = '<conditional name="c"><string name="d" label="D"/>\n<when value="{}" allow_regex="true"/></conditional>'
FILES = '<filelist name="p" label="P" multiple="true" is_folder="false" is_raw_input="true"'
LAUGHS = '<!DOCTYPE tool [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>\n'


@pytest.mark.parametrize(
    ("data", "line", "reason"),
    [
        (b"", 1, "neither"),
        ("   \n ", 2, "neither"),
        ("plain text", 1, "neither"),
        ("<html/>", 1, "neither"),
        ("<toolbox/>", 1, "neither"),
        ("<x:tool xmlns:x='y'/>", 1, "neither"),
        ("<tool", 1, "neither"),
        ("<!-- <tool/> -->", 1, "neither"),
        ("<!-- open <tool/>", 1, "neither"),
        (b"\x00\x01\x02", 1, "neither"),
        (b"\xff\xff<tool/>", 0, "cannot be read as utf-8"),
        (b'<?xml version="1.0" encoding="klingon"?><tool/>', 0, "cannot be read as klingon"),
        (b"\xff\xfe<", 0, "cannot be read as utf-16"),
        (" " * (MAX_FILE_BYTES + 1), 0, "more than"),
        ("\n" + LAUGHS + tool().replace('"App"', '"&b;"'), 2, "DOCTYPE"),
        ('<!DOCTYPE tool SYSTEM "file:///etc/passwd">' + tool(), 1, "DOCTYPE"),
        (tool("&unknown;"), 3, "not well-formed"),
        (tool().replace('"App"', '"&xxe;"'), 1, "not well-formed"),
        (tool("<string>"), 4, "not well-formed"),
        (tool() + tool(), 6, "not well-formed"),
        (tool("<string name='a' name='b'/>"), 3, "not well-formed"),
        (tool("\x01"), 3, "not well-formed"),
        (tool("<a>" * 300 + "</a>" * 300), 3, "depth"),
        (tool().replace('id="app_1" ', ""), 1, "'id' is required"),
        (tool().replace(' end_tag=""', ""), 1, "'end_tag' is required"),
        (tool().replace(' command="run"', ""), 1, "'command' is required"),
        (tool(id=""), 1, "'id'"),
        (tool(id="a b"), 1, "'id'"),
        (tool(id="../x"), 1, "'id'"),
        (tool(id="<b>"), 1, "'id'"),
        (tool(name=""), 1, "'name'"),
        (tool(name="<script>"), 1, "'name'"),
        (tool(version="1 & 2"), 1, "'version'"),
        (tool(category="<b>"), 1, "'category'"),
        (tool(convert_config_to="xml"), 1, "'convert_config_to'"),
        (tool(network="lan"), 1, "'network'"),
        (tool(network=""), 1, "'network'"),
        (tool(colour="red"), 1, "'colour' is not allowed"),
        (tool(program="x"), 1, "go together"),
        (tool(licence="ask"), 1, "go together"),
        (tool(program="a b", licence="ask"), 1, "'program'"),
        (tool(program="x", licence="<b>"), 1, "'licence'"),
        (tool("<slider name='p' label='P'/>"), 3, "not expected"),
        (tool("text"), 2, "Character content"),
        (tool('<string label="P"/>'), 3, "'name' is required"),
        (tool('<string name="a b" label="P"/>'), 3, "'name'"),
        (tool('<string name="" label="P"/>'), 3, "'name'"),
        (tool('<string name="p" label="P" visibility="never"/>'), 3, "'visibility'"),
        (tool('<string name="p" label="P" allow_empty="maybe"/>'), 3, "'allow_empty'"),
        (tool('<string name="p" label="P" min="1"/>'), 3, "'min' is not allowed"),
        (tool('<checkbox name="p" label="P"/>'), 3, "'value' is required"),
        (tool('<checkbox name="p" label="P" value="yes"/>'), 3, "'value'"),
        (tool('<select name="p" label="P"/>'), 3, "Missing child"),
        (tool('<select name="p" label="P"><option>a</option></select>'), 3, "'value' is required"),
        (tool('<select name="p" label="P">\n<option value="a"/>\n<option value="a"/></select>'), 4, "given twice"),
        (tool('<number name="p" label="P" value="one"/>'), 3, "'value'"),
        (tool('<number name="p" label="P" min="1,5"/>'), 3, "'min'"),
        (tool('<number name="p" label="P" step="some"/>'), 3, "'step'"),
        (tool('<number name="p" label="P" step="0"/>'), 3, "step 0 is not more than 0"),
        (tool('<number name="p" label="P" step="-1"/>'), 3, "step -1 is not more than 0"),
        (tool('<number name="p" label="P" min="2" max="1"/>'), 3, "min 2 is more than max 1"),
        (tool('<number name="p" label="P" min="2" value="1"/>'), 3, "the default of p is 1, less than 2"),
        (tool('<range name="p" label="P" value="2" value2="1"/>'), 3, "the default of p-min is 2, more than the greatest"),
        (tool('<filelist name="p" label="P"/>'), 3, "is required"),
        (tool(FILES + ' value="/x/.."/>'), 3, "the default of p has a path that cannot be used"),
        (tool(PAIRS.format(' type_of="bool"', "")), 3, "'type_of'"),
        (tool(PAIRS.format(' type_of="int"', '<option key="a" value="x"/>')), 3, "the default of p has 'x', not a number"),
        (tool(PAIRS.format("", '<option key="a"/>')), 3, "'value' is required"),
        (tool('<conditional name="c"/>'), 3, "Missing child"),
        (tool('<conditional name="c"><string name="d" label="D"/></conditional>'), 3, "Missing child"),
        (tool('<conditional><string name="d" label="D"/><when value="a"/></conditional>'), 3, "'name' is required"),
        (tool('<conditional name="c"><range name="d" label="D"/><when value="a"/></conditional>'), 3, "not expected"),
        (tool('<conditional name="c"><string name="d" label="D"/><when/></conditional>'), 3, "'value' is required"),
        (tool(WHEN.format("(")), 4, "not a regular expression"),
        (tool(WHEN.format("(a+)+")), 4, "repeats a group"),
        (tool(end_tag="("), 1, "end_tag is not a regular expression"),
        (tool(end_tag_location="/etc/passwd"), 1, "end_tag_location"),
        (tool(end_tag_location="a/../../b"), 1, "end_tag_location"),
        (tool(command="run %value%"), 1, "command: %value% means nothing here"),
        (tool(command="run %config-file%"), 1, "no convert_config_to"),
        (tool('\n<string name="p" label="P" command="-c %config-file%"/>'), 4, "no convert_config_to"),
        (tool(command="run 'open"), 1, "not closed"),
        (tool("<text name='t' label='T'/>", command="a; bash -euo pipefail -c"), 1, "command: what follows it would be read"),
        (tool("<text name='t' label='T'/>", command="eval"), 1, "command: what follows it would be read as shell"),
        (tool('<string name="p" label="P" command="| sh -c"/>'), 3, "command: what follows it would be read as shell"),
        (tool('<string name="p" label="P" command="`%value%`"/>'), 3, "command: %value% stands within backticks"),
        (tool('<string name="p" label="P" command="%value2%"/>'), 3, "%value2% means nothing here"),
        (tool('<checkbox name="p" label="P" value="true" command_if_unchecked="%value%"/>'), 3, "command_if_unchecked: %value%"),
        (tool('<select name="p" label="P"><option value="a" command="%value%"/></select>'), 3, "%value% means nothing here"),
        (tool(FILES + ' repeated_command="sh -c \'%value%\'"/>'), 3, "repeated_command: %value% stands in a text"),
        (tool(PAIRS.format(' repeated_command="%value2%"', "")), 3, "%value2% means nothing here"),
    ],
)  # fmt: skip
def test_a_broken_app_is_refused_with_line_and_reason(data: bytes | str, line: int, reason: str) -> None:
    found = problems(data)
    assert found[0][0] == line, found
    assert reason in found[0][1], found


def test_entities_of_xml_itself_are_understood() -> None:
    found = app('<string name="p" label="&lt;&amp;&#233;&quot;" command="a &gt; b"/>')
    assert found.sections[0].items[0].label == '<&é"'  # type: ignore[union-attr]


WORKFLOW = """\
<workflow id="w_1" name="W" version="1" hidden="false"><tool id="a_1"><param name="x" value="1" visibility="hidden"/></tool>
<tool id="b_1">
<param name="y" value="%job_dir_0%/output/r.tsv" from_tool="{}" section="s" visibility="disabled"/></tool></workflow>"""


def test_a_workflow_is_its_steps_with_their_presets() -> None:
    document = read_document(WORKFLOW.format(0).encode(), ALL_SCHEMAS)
    found = read_workflow(document.root)
    assert document.text.startswith("<workflow")
    assert [step.app for step in found.steps] == ["a_1", "b_1"]
    preset = found.steps[1].presets[0]
    assert (preset.name, preset.value, preset.from_tool, preset.section, preset.visibility) == (
        "y", "%job_dir_0%/output/r.tsv", 0, "s", "disabled",
    )  # fmt: skip
    assert found.steps[0].presets[0].from_tool is None


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (WORKFLOW.format(1), 3),
        (WORKFLOW.format(7), 3),
        (WORKFLOW.format(-1), 3),
        (WORKFLOW.format("x"), 3),
        ('<workflow id="w" name="W" version="1"/>', 1),
        (WORKFLOW.format(0).replace('id="b_1"', ""), 2),
        (WORKFLOW.format(0).replace('name="W"', 'name="&lt;b>"'), 1),
    ],
)
def test_a_broken_workflow_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(BadXml) as refusal:
        read_workflow(read_document(text.encode(), ALL_SCHEMAS).root)
    assert refusal.value.problems[0][0] == line
