"""Files of ISO 20022 messages as a source of payments: read as a stream, one payment in memory at a time.

Invariants
1. Every element of the message is read for a payment, or counted in `left_out`: nothing is passed over unnamed.
2. Nothing of an unfinished message is called sound: a file that breaks off has a fault, whatever came before.
3. The numbers and sums that a message says of itself are those of its payments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NoReturn

from pipeline.domain.log import Source
from pipeline.domain.refusals import refusal_of
from pipeline.io.xml_stream import XmlRefused, XmlStream
from pipeline.publish.iso20022.mapping import (
    CHANNELS,
    SERVICE_LEVEL,
    Group,
    Instruction,
    Rules,
    group_of,
    instruction_of,
    payment_of,
)
from pipeline.publish.iso20022.messages import AMOUNTS, FORMS, NAMESPACE, Block, Form, Wanted
from pipeline.publish.iso20022.said import Said, Text
from pipeline.publish.iso20022.settlement import Amount
from pipeline.publish.iso20022.sums import Sums
from pipeline.publish.payment_source import NO_TOTALS, ControlTotals, Fault, FilePayment
from pipeline.publish.plain_values import is_utf8_in
from pipeline.publish.table_files import WatchedFile

TEXT_CHARACTERS_MAX: Final = 2_000
"""The longest text that is read, which in ISO 20022 has 140 characters."""
TEXTS_MAX: Final = 1_000
"""Texts of one block: lines of a reference, charges."""
LEFT_OUT_MAX: Final = 1_000
"""Different elements that have no place. A whole pacs.008 has some hundreds; supplementary ones count as one."""
_BLANKS: Final = " \t\r\n"
_CURRENCY: Final = "Ccy"


class MessageSource:
    """A file with one pain.001 or pacs.008. After a reading, `left_out` has how often each element had no place in a
    payment, by its path below Document; `form` is the message's name."""

    unit: Final = "line"
    part: Final = "element"
    count: Final = None
    is_whole: Final = True

    def __init__(self, file: WatchedFile, rules: Rules, totals: ControlTotals = NO_TOTALS) -> None:
        self._file, self._rules, self.totals = file, rules, totals
        self.name = file.name
        self.form = ""
        self.left_out: Mapping[str, int] = {}

    def read(self) -> Iterator[FilePayment | Fault]:
        reading = _Reading(self._rules)
        self.left_out = reading.left_out
        with self._file.unpacked() as file:
            try:
                for _ in reading.stream.read(file):
                    yield from reading.taken()
            except XmlRefused as refusal:
                yield from reading.taken()
                yield Fault(refusal.line, None, refusal.what)
        self.form = reading.form_name

    def read_to_its_end(self) -> None:
        self._file.read_to_its_end()

    def require_same(self) -> None:
        self._file.require_same()


class _Element:
    """An element that is open. parts: the pieces of its text, where it is wanted."""

    __slots__ = ("block", "characters", "currency", "has_child", "has_text", "line", "parts", "path", "wanted")

    def __init__(self, path: str, block: Block | None, wanted: Wanted | None, line: int) -> None:
        self.path, self.block, self.wanted, self.line = path, block, wanted, line
        self.parts: list[str] = []
        self.characters = 0
        self.currency: str | None = None
        self.has_child = self.has_text = False


class _Reading:
    """The stream's listener: which elements are open, and what is said in the blocks of the message so far."""

    def __init__(self, rules: Rules) -> None:
        self.stream = XmlStream(self)
        self.left_out: dict[str, int] = {}
        self.form_name = ""
        self._rules = rules
        self._taken: list[FilePayment | Fault] = []
        self._form: Form | None = None
        self._namespace = ""
        self._open: list[_Element] = []
        self._foreign = 0  # how deep the stream is in elements of another namespace
        self._said: dict[Block, Said] = {}
        self._group: Group | None = None
        self._instruction: Instruction | None = None
        self._whole, self._part = Sums(), Sums()
        self._instructions = 0
        self._has_message = False

    def taken(self) -> list[FilePayment | Fault]:
        taken, self._taken = self._taken, []
        return taken

    # Elements

    def start(self, namespace: str, name: str, attributes: Mapping[str, str]) -> None:
        if self._foreign:
            self._foreign += 1
            return
        if not self._open:
            self._begin_document(namespace, name)
            return
        assert self._form is not None, "the document has begun"
        parent = self._open[-1]
        parent.has_child = True
        if namespace != self._namespace:
            self._leave_out(f"{parent.path}/(of another namespace)".lstrip("/"))
            self._foreign = 1
            return
        path = f"{parent.path}/{name}" if parent.path else self._root(name)
        block, wanted = self._form.blocks.get(path), self._form.wanted.get(path)
        element = _Element(path, block, wanted, self.stream.line if block or wanted else 0)
        self._open.append(element)
        if attributes:
            self._take_attributes(element, attributes)
        if (single := self._form.singles.get(path)) is not None:
            self._said[single.block].hold(single.name, self.stream.line)
        if block is not None:
            self._begin_block(block, element)
        elif wanted is not None and wanted.block is Block.INSTRUCTION and self._instruction is not None:
            self._refuse(f"{path} stands behind the payments that it is about")

    def hear(self, text: str) -> None:
        if self._foreign or not self._open:
            return
        element = self._open[-1]
        if element.wanted is None:
            element.has_text = element.has_text or not text.isspace()
            return
        element.characters += len(text)
        if element.characters > TEXT_CHARACTERS_MAX:
            self._refuse(f"{element.path} is a text of over {TEXT_CHARACTERS_MAX:,} characters")
        element.parts.append(text)

    def end(self) -> None:
        if self._foreign:
            self._foreign -= 1
            return
        element = self._open.pop()
        if element.wanted is not None:
            self._take(element, element.wanted)
        elif element.has_child and element.has_text:
            self._refuse(f"{element.path or 'Document'} has a text between its elements")
        elif not element.has_child and element.block is None and element.path:
            self._leave_out(element.path)
        if element.block is not None:
            self._end_block(element.block, element)
        if not self._open:
            self._end_document()

    def _take(self, element: _Element, wanted: Wanted) -> None:
        if element.has_child:
            self._refuse(f"{element.path} has elements where a text is read")
        texts = self._said[wanted.block].texts.setdefault(wanted.name, [])
        if len(texts) == TEXTS_MAX:
            self._refuse(f"{element.path} stands more than {TEXTS_MAX:,} times in one place")
        text = "".join(element.parts).strip(_BLANKS)
        if self.stream.is_latin and not text.isascii() and is_utf8_in("iso-8859-1", text):
            self._refuse(f"{element.path} is sound UTF-8, and the document declares ISO-8859-1")
        texts.append(Text(text, element.line, element.currency))
        if wanted.name == SERVICE_LEVEL and text not in CHANNELS:
            self._leave_out(element.path)

    def _take_attributes(self, element: _Element, attributes: Mapping[str, str]) -> None:
        for name, value in attributes.items():
            if name == _CURRENCY and element.wanted is not None and element.wanted.name in AMOUNTS:
                element.currency = value
            else:
                self._leave_out(f"{element.path}/@{name.rpartition(' ')[2][:64]}")

    def _leave_out(self, path: str) -> None:
        if path not in self.left_out and len(self.left_out) == LEFT_OUT_MAX:
            self._refuse(
                f"the message has more than {LEFT_OUT_MAX:,} different elements that no payment has a place for"
            )
        self.left_out[path] = self.left_out.get(path, 0) + 1

    # The message and its blocks

    def _begin_document(self, namespace: str, name: str) -> None:
        form = FORMS.get(namespace)
        if form is None or name != "Document":
            known = f"{', '.join(form.name for form in FORMS.values())}"
            if namespace.startswith(NAMESPACE) and name == "Document":
                self._refuse(f"the document is {namespace.removeprefix(NAMESPACE)[:40]!r}; what is read is {known}")
            self._refuse(f"the file's first element is no Document of ISO 20022; what is read is {known}")
        self._form, self._namespace, self.form_name = form, namespace, form.name
        self._open.append(_Element("", None, None, 0))

    def _root(self, name: str) -> str:
        assert self._form is not None
        if self._has_message:
            self._refuse("the document holds more than one message")
        if name != self._form.root:
            self._refuse(f"the document holds no {self._form.root}, which is the message of its namespace")
        self._has_message = True
        return name

    def _begin_block(self, block: Block, element: _Element) -> None:
        path = element.path
        if block is Block.GROUP:
            if self._group is not None or self._instructions or self._whole.payments:
                self._refuse(f"{path} stands twice, or behind payments")
        elif self._group is None:
            self._refuse(f"{path} stands before the message's header")
        if block is Block.INSTRUCTION:
            self._instructions += 1
            self._instruction, self._part = None, Sums()
            path = f"{path}[{self._instructions}]"
        if block is Block.PAYMENT:
            path = self._payment_path(path)
        self._said[block] = Said(path, element.line)

    def _payment_path(self, path: str) -> str:
        """The path with the numbers of the payment and of the instruction that it stands in."""
        within = self._said.get(Block.INSTRUCTION)
        if within is None:
            return f"{path}[{self._whole.payments + 1}]"
        if self._instruction is None:
            self._instruction = instruction_of(within)
            self._tell(within)
        return f"{within.path}/{path.rpartition('/')[2]}[{self._part.payments + 1}]"

    def _end_block(self, block: Block, element: _Element) -> None:
        said = self._said[block]
        if block is Block.GROUP:
            self._group = group_of(said, self._rules)
        elif block is Block.PAYMENT:
            self._end_payment(said, element)
        elif self._instruction is None:
            said.fault("CdtTrfTxInf", "is missing: the instruction has no payment")
        else:
            self._part.compare(said, self._instruction.payments, self._instruction.control_sum)
        self._tell(said)

    def _end_payment(self, said: Said, element: _Element) -> None:
        assert self._form is not None
        assert self._group is not None
        payment = payment_of(self._form.kind, self._group, self._instruction, said, self._rules)
        self._add(payment.amount)
        transaction = payment.transaction
        if transaction is None:
            return
        now = Source(0, 0, transaction.event_time_ms)
        if (refusal := refusal_of(transaction, transaction.account_id.encode(), now)) is not None:
            said.fault("", f"would be refused: {refusal.detail}")
        else:
            self._taken.append(FilePayment(element.line, transaction, None))

    def _add(self, amount: Amount | None) -> None:
        self._whole.add(amount)
        self._part.add(amount)

    def _end_document(self) -> None:
        header = self._said.get(Block.GROUP)
        if header is None or self._group is None:
            self._refuse("the message has no header, GrpHdr")
        if not self._whole.payments:
            header.fault("", "is of a message without a payment")
        self._whole.compare(header, self._group.payments, self._group.control_sum)
        if self._group.total is not None:
            self._whole.compare_total(header, self._group.total)
        self._tell(header)

    def _tell(self, said: Said) -> None:
        """Pass faults on, once each."""
        self._taken += said.faults
        said.faults.clear()

    def _refuse(self, what: str) -> NoReturn:
        raise XmlRefused(self.stream.line, what)
