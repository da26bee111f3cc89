"""The old valve server of a Bluefors refrigerator, `ValveControl` on TCP.

Of one client: the form feed that greets, LF in and CRLF out, the replies by number, the order
control before remote before on and off, that a wrong name leaves everything as it is, that empty
lines keep the connection alive and silence ends it after 30 s. Not confirmed on a device: numbers
and words of errors other than `E10: permission denied`, how numbers are written, and what `control`
answers to who does not get it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sim_hardware.face import LONGEST_MESSAGE, Chunk
from sim_hardware.world.gas import PUMPS, SIX_GAUGES, VALVES, GasHandling

GREETING = b"\x0c"
IDLE_S = 30.0
NAMES = (*VALVES, *PUMPS)
DENIED = "E10: permission denied"
NO_COMMAND, NO_NAME, NO_VALUE = "E01: no such command", "E02: no such name", "E03: no such value"
OK_CODE = "0"  # of a gauge

Reply = Callable[["ValveTalk", list[str], float], str]


class BlueforsValves:
    """The server; one of its clients at a time may hold control."""

    model = "bluefors-valves"
    max_clients = 4
    refusal = b""

    def __init__(self, gas: GasHandling) -> None:
        self.complaints: list[str] = []
        self.gas = gas
        self.in_control: ValveTalk | None = None
        self.remote = False

    def connect(self, now_s: float) -> ValveTalk:
        """Greet a new client."""
        return ValveTalk(self, now_s)

    def take_control(self, talk: ValveTalk) -> bool:
        """Whether a client has control now."""
        if self.in_control is None or self.in_control.over:
            self.in_control = talk
        return self.in_control is talk

    def release(self, talk: ValveTalk) -> None:
        """Control and remote end with the connection that had them."""
        if self.in_control is talk:
            self.in_control, self.remote = None, False


class ValveTalk:
    """One client's connection."""

    def __init__(self, server: BlueforsValves, now_s: float) -> None:
        self._server, self._heard_s = server, now_s
        self._said, self._received = [GREETING], b""
        self.over = False

    def receive(self, received: bytes, now_s: float) -> None:
        """Answer every line; an empty one only shows that the client is there."""
        if not received:
            self._end()
            return
        self._heard_s = now_s
        *lines, self._received = (self._received + received)[-LONGEST_MESSAGE:].split(b"\n")
        for line in lines:
            words = line.decode("ascii", "replace").strip()
            if words and not self.over:
                self._said.append(f"{self._answer(words, now_s)}\r\n".encode())

    def send(self, now_s: float) -> Sequence[Chunk]:
        """The replies since the last call; nothing more after a long silence."""
        if now_s - self._heard_s >= IDLE_S:
            self._end()
        said, self._said = self._said, []
        return said

    def wait_s(self, now_s: float) -> float | None:
        """At once with a greeting, or when it has been silent for too long."""
        return 0.0 if self._said else max(0.0, self._heard_s + IDLE_S - now_s)

    def _end(self) -> None:
        self._server.release(self)
        self.over = True

    def _answer(self, line: str, now_s: float) -> str:
        word, _, rest = line.partition(" ")
        names = [name.strip() for name in rest.split(",")] if rest.strip() else []
        reply = REPLIES[word](self, names, now_s) if word in REPLIES else NO_COMMAND
        if reply.startswith("E"):
            self._server.complaints.append(f"{line!r}: {reply}")
        return reply

    def names(self, names: list[str], now_s: float) -> str:
        """Every valve and pump."""
        del names, now_s
        return f"S04: {','.join(NAMES)}"

    def status(self, names: list[str], now_s: float) -> str:
        """What is on, of all or of some."""
        if set(names) - set(NAMES):
            return NO_NAME
        states = ",".join(f"{n}={int(self._server.gas.on(n, now_s))}" for n in names or NAMES)
        return f"S0{2 if names else 3}: {states}"

    def control(self, names: list[str], now_s: float) -> str:
        """Take control, or give it back, or say who has it."""
        del now_s
        if names not in ([], ["0"], ["1"]):
            return NO_VALUE
        if names == ["1"] and not self._server.take_control(self):
            return DENIED
        if names == ["0"]:
            self._server.release(self)
        return f"S0{8 if names else 7}: {int(self._server.in_control is self)}"

    def remote(self, names: list[str], now_s: float) -> str:
        """Let the valves obey this server; for who has control."""
        del now_s
        if names not in ([], ["0"], ["1"]):
            return NO_VALUE
        if names and self._server.in_control is not self:
            return DENIED
        if names:
            self._server.remote = names == ["1"]
        return f"S06: {int(self._server.remote)}"

    def switch(self, names: list[str], now_s: float, wanted: bool | None) -> str:
        """Turn valves and pumps on or off, or each to what it is not; all of them or none."""
        if self._server.in_control is not self or not self._server.remote:
            return DENIED
        if not names or set(names) - set(NAMES):
            return NO_NAME
        gas = self._server.gas
        gas.switch({n: not gas.on(n, now_s) if wanted is None else wanted for n in names}, now_s)
        return "S00: Ok"

    def flow(self, names: list[str], now_s: float) -> str:
        """The circulation, in mmol/s."""
        del names
        return f"S09: {self._server.gas.flow_mmol_s(now_s):.6f}"

    def gauges(self, names: list[str], now_s: float) -> str:
        """The pressures, or one of them, in mbar."""
        return self._gauges(names, "S11", "S05", lambda g: f"{self._pressure(g, now_s):.6e}")

    def gauge_codes(self, names: list[str], now_s: float) -> str:
        """How the gauges are, or one of them."""
        del now_s
        return self._gauges(names, "S12", "S10", lambda _: OK_CODE)

    def leave(self, names: list[str], now_s: float) -> str:
        """Say farewell."""
        del names, now_s
        self._end()
        return "S01: bye"

    def _pressure(self, gauge: str, now_s: float) -> float:
        return self._server.gas.pressure_mbar(gauge, now_s)

    def _gauges(self, names: list[str], all_: str, one: str, said: Callable[[str], str]) -> str:
        if not names:
            return f"{all_}: " + ", ".join(f"{gauge}={said(gauge)}" for gauge in SIX_GAUGES)
        gauge = f"p{names[0]}"
        return f"{one}: {said(gauge)}" if gauge in SIX_GAUGES and len(names) == 1 else NO_NAME


REPLIES: dict[str, Reply] = {
    "names": ValveTalk.names,
    "status": ValveTalk.status,
    "control": ValveTalk.control,
    "remote": ValveTalk.remote,
    "on": lambda talk, names, now_s: talk.switch(names, now_s, True),
    "off": lambda talk, names, now_s: talk.switch(names, now_s, False),
    "switch": lambda talk, names, now_s: talk.switch(names, now_s, None),
    "fmstatus": ValveTalk.flow,
    "mgstatus": ValveTalk.gauges,
    "mgstatuscode": ValveTalk.gauge_codes,
    "exit": ValveTalk.leave,
}
