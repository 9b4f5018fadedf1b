"""Untrusted XML in, element events or a plain tree out: no DTD, no entities, bounded."""

import codecs
import re
from collections.abc import Callable, Iterator
from itertools import islice
from xml.parsers import expat

SHOWPLAN = "ShowPlanXML"

# A plan comes from a server, a file or a colleague's mail. Real ones stay far below these limits: some
# megabytes, some hundred levels. A hostile one must not cost more than a second to refuse.
MAX_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 2_000
MAX_ELEMENTS = 120_000
MAX_ATTRIBUTES = 600_000
MAX_ATTRIBUTES_OF_ONE = 1_000

_DECLARATION = re.compile(r"\s*<\?xml\b[^>]*\?>")
_DECLARED_ENCODING = re.compile(rb"""^\s*<\?xml\b[^>]*?\bencoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
# Python has decoders that no XML is written in, and some of them take time by the square of the length.
_KNOWN_ENCODING = re.compile(
    r"(?:us-)?ascii|latin-?1|iso-8859-\d+|(?:windows-|cp)\d+|koi8-[ru]|gb\w+|big5|shift_jis|euc-\w+"
)
# The parser hands over an element when it has all of its attributes: too many are to be seen before that.
_LONG_TAG = re.compile(r"<[^<]{100000,}")
_ATTRIBUTE = re.compile(r"""=\s*(?:"[^"]*"|'[^']*')""")

StartHandler = Callable[[str, dict[str, str]], None]
EndHandler = Callable[[str], None]
TextHandler = Callable[[str], None]


class ShowplanError(ValueError):
    """The text is not a Showplan document that can be read safely; the message says why."""


def not_one_plan(root: str, plans: int) -> ShowplanError:
    """Why a document is refused that is well-formed, but is not one Showplan."""
    if plans:
        return ShowplanError(f"the document holds {plans} plans; one at a time can be read")
    return ShowplanError(f"this is not a Showplan: the root element is <{root[:60]}>, not <{SHOWPLAN}>")


class Element:
    """One XML element: local name, attributes, children. Text is not kept: Showplan has none."""

    __slots__ = ("attributes", "children", "tag")

    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag = tag
        self.attributes = attributes
        self.children: list[Element] = []

    def child(self, tag: str) -> "Element | None":
        """The first child of that name."""
        for child in self.children:
            if child.tag == tag:
                return child
        return None

    def all(self, tag: str) -> "list[Element]":
        """The children of that name."""
        return [child for child in self.children if child.tag == tag]

    def walk(self, *, stop: str = "") -> "Iterator[Element]":
        """The descendants in document order; does not enter elements named `stop`."""
        stack = self.children[::-1]
        while stack:
            element = stack.pop()
            if element.tag == stop:
                continue
            yield element
            if element.children:
                stack.extend(reversed(element.children))


def read_text(xml: str | bytes) -> str:
    """The document as text, without byte order mark and XML declaration.

    The declared encoding is trusted last: files that hold UTF-8 and declare utf-16 are common (a plan that
    was copied out of an nvarchar column and saved by an editor).
    """
    size = len(xml)
    if size > MAX_BYTES * (1 if isinstance(xml, str) else 2):
        raise ShowplanError(f"the document has {size:,} characters; the limit is {MAX_BYTES:,}")
    text = xml if isinstance(xml, str) else _decode(xml)
    text = text.lstrip("\ufeff")
    declaration = _DECLARATION.match(text)
    return (text[declaration.end() :] if declaration else text).strip("\0 \t\r\n")


def _decode(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif data[1:2] == b"\0":
        encoding = "utf-16-le"
    elif data[:1] == b"\0":
        encoding = "utf-16-be"
    else:
        declared = _DECLARED_ENCODING.match(data[:200])
        name = declared[1].decode("ascii").lower() if declared else "utf-8"
        encoding = "utf-8-sig" if name.startswith(("utf-16", "utf-8", "ucs-2", "unicode")) else name
        if encoding != "utf-8-sig" and not _KNOWN_ENCODING.fullmatch(encoding):
            raise ShowplanError(f"the document cannot be decoded: unknown encoding: {name[:60]}")
    try:
        return data.decode(encoding)
    except (UnicodeError, LookupError) as error:
        raise ShowplanError(f"the document cannot be decoded: {error}") from error


def scan(xml: str | bytes, start: StartHandler, end: EndHandler, text: TextHandler | None = None) -> None:
    """Call the handlers for each element, names as written; raise ShowplanError on anything unsafe."""
    document = read_text(xml)
    if not document:
        raise ShowplanError("the document is empty")
    _refuse_endless_tags(document)
    depth = elements = attributes_seen = 0

    def start_element(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth, elements, attributes_seen
        depth += 1
        elements += 1
        attributes_seen += len(attributes)
        if depth > MAX_DEPTH:
            raise ShowplanError(f"the document is nested deeper than {MAX_DEPTH:,} levels")
        if elements > MAX_ELEMENTS:
            raise ShowplanError(f"the document has more than {MAX_ELEMENTS:,} elements")
        if attributes_seen > MAX_ATTRIBUTES:
            raise ShowplanError(f"the document has more than {MAX_ATTRIBUTES:,} attributes")
        start(tag, attributes)

    def end_element(tag: str) -> None:
        nonlocal depth
        depth -= 1
        end(tag)

    def refuse_doctype(*_: object) -> None:
        raise ShowplanError("the document has a DOCTYPE; entities are not expanded")

    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartElementHandler = start_element
    parser.EndElementHandler = end_element
    parser.StartDoctypeDeclHandler = refuse_doctype
    parser.EntityDeclHandler = refuse_doctype
    if text is not None:
        parser.CharacterDataHandler = text
    try:
        parser.Parse(document.encode("utf-8"), True)
    except expat.ExpatError as error:
        raise ShowplanError(f"the document is not well-formed XML: {error}") from error
    except UnicodeEncodeError as error:
        raise ShowplanError(
            f"the document holds characters that XML does not allow: {error.reason}"
        ) from error


def _refuse_endless_tags(document: str) -> None:
    for tag in _LONG_TAG.finditer(document):
        attributes = islice(_ATTRIBUTE.finditer(tag[0]), MAX_ATTRIBUTES_OF_ONE + 1)
        if sum(1 for _ in attributes) > MAX_ATTRIBUTES_OF_ONE:
            raise ShowplanError(f"an element has more than {MAX_ATTRIBUTES_OF_ONE:,} attributes")


def local_name(name: str) -> str:
    """The name without its namespace prefix."""
    return name.rpartition(":")[2]


def read_tree(xml: str | bytes) -> Element:
    """The document as a tree of elements with local names."""
    root: list[Element] = []
    open_elements: list[Element] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        element = Element(local_name(tag) if ":" in tag else tag, attributes)
        (open_elements[-1].children if open_elements else root).append(element)
        open_elements.append(element)

    def end(_tag: str) -> None:
        open_elements.pop()

    scan(xml, start, end)
    return root[0]
