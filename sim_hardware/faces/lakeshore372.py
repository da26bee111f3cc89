"""A Lake Shore 372 on a cryostat: sixteen scanned inputs, a control input and three outputs.

Literals and bits are those of the manual and of other people's tests and drivers. Not confirmed on
a device: that INTYPE restarts the settling of the input measured now, that HTR? takes the number of
the sample heater (qcodes sends it), and the replies to AOUT? and FREQ?. Of the manufacturer's own
client alone: the fields of RAMP, ZONE, ALARM and CRVHDR and their order; not confirmed: how their
numbers are written, the limits of the rates, which of an alarm's last two fields is which (it sends
them in one order and reads them in another), that ALARM and ZONE hold kelvin, and that SETP? gives
where a ramp leads. A ramp is followed whenever somebody asks; the zones are kept and not obeyed.
Not simulated: the points of curves (CRVPT), WARMUP, relays; they meet the silence of commands that
are not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import copysign, sqrt

from sim_hardware.face import Conversation
from sim_hardware.faces.lakeshore import (
    WHOLE,
    Language,
    Pace,
    PacedConversation,
    Reading,
    Settings,
    moving,
)
from sim_hardware.faces.lakeshore372_settings import (
    ALL_INPUTS,
    LOOPS,
    OUTPUTS,
    PRESET,
    SETTINGS,
)
from sim_hardware.faces.lakeshore_bridge import (
    HEATER_RANGES_A,
    MIXING_INPUT,
    SENSORS,
    BridgeInputs,
    Excitation,
    SampleHeater,
)
from sim_hardware.world.cryostat import Cryostat

IDENTITY = "LSCI,MODEL372,SIM0372,1.3"
READING_VALID = 4  # bit of the status byte
STILL_FULL_W = 0.01
IN_KELVIN, IN_POWER = "1", "2"  # units of INTYPE and of HTRSET
OPEN_LOOP, STILL_MODE, CLOSED_LOOP = "2", "4", "5"  # of OUTMODE
HEATERS = frozenset(
    {"STILL", "RAMP", "INTYPE", "OUTMODE", "RANGE", "SETP", "MOUT", "HTRSET", "TLIMIT"}
)


@dataclass(frozen=True, slots=True)
class Ramp:
    """A setpoint that goes from `begin` to `target`, `per_s` a second, from `since_s` on."""

    begin: float
    target: float
    since_s: float
    per_s: float

    def at(self, now_s: float) -> float:
        """Where it is."""
        gone = self.per_s * max(0.0, now_s - self.since_s)
        way = self.target - self.begin
        return self.target if gone >= abs(way) else self.begin + copysign(gone, way)

    def is_under_way(self, now_s: float) -> bool:
        """Whether it has not arrived."""
        return self.at(now_s) != self.target


class Lakeshore372:
    """The instrument; its text is ASCII, messages end with LF, replies with CRLF."""

    model = "lakeshore372"
    max_clients = 2
    refusal = b""
    message_end = b"\n"

    def __init__(self, cryostat: Cryostat, *, gap_s: float = 0.0) -> None:
        """`gap_s` after a message it obeys the next one."""
        self.complaints: list[str] = []
        self._cryostat, self._pace = cryostat, Pace(gap_s)
        self._settings = Settings(SETTINGS, PRESET)
        self._heater = SampleHeater(cryostat, self.model)
        self._ramp, self._led_to = Ramp(0.0, 0.0, 0.0, 0.0), 0.0  # the setpoint in force
        self._inputs = BridgeInputs(cryostat, self._settings, self._excitation)
        self._language = Language(
            IDENTITY,
            self._settings,
            self._readings(),
            complain=lambda text: self.complaints.append(text),
            told=self._told,
            standing=READING_VALID,
        )

    def connect(self, now_s: float) -> Conversation:
        """Talk with a new client."""
        del now_s
        return PacedConversation(self, self._pace)

    def answer(self, message: str, now_s: float) -> str:
        """The replies to the queries of a message, in one line; none to commands or nonsense."""
        if self._ramp.at(now_s) != self._led_to:
            self._heat(now_s)
        self._shut_down_above_limits(now_s)
        return self._language.answer(message, now_s)

    def _readings(self) -> dict[str, Reading]:
        inputs = self._inputs.readings(ALL_INPUTS)
        return inputs | {
            "KRDG": inputs["RDGK"],
            "SRDG": inputs["RDGR"],
            "QRDG": Reading(ALL_INPUTS, self._quadrature),
            "HTR": Reading((*WHOLE, "0"), self._output),
            "AOUT": Reading(("1", "2"), self._analog_output),
            "HTRST": Reading(OUTPUTS, self._heater_fault),
            "RAMPST": Reading(LOOPS, self._ramp_state),
            "ALARMST": Reading(ALL_INPUTS, self._alarm_state),
        }

    def _told(self, name: str, now_s: float) -> None:
        self._inputs.told(name, now_s)
        if name in ("SETP", "RAMP"):
            self._begin_ramp(now_s)
        if name in HEATERS:
            self._heat(now_s)

    def _excitation(self, channel: str) -> Excitation:
        mode, level, auto, range_, *_ = self._settings.parts("INTYPE", channel)
        return Excitation(mode, int(level), auto != "0", int(range_))

    # --- readings

    def _quadrature(self, channel: str, now_s: float) -> str:
        """Nothing is out of phase here."""
        del channel, now_s
        return moving(0.0)

    def _output(self, where: str, now_s: float) -> str:
        """The sample heater, in percent of full scale or in watts."""
        del where, now_s
        power_w, full_w = self._heater.power_w(), self._full_w()
        if self._in_power():
            return moving(power_w)
        return moving(100 * sqrt(power_w / full_w) if full_w else 0.0)

    def _analog_output(self, where: str, now_s: float) -> str:
        """The still's output in percent; there is no warm-up heater."""
        del now_s
        return moving(self._still_percent() if where == "2" else 0.0)

    def _heater_fault(self, where: str, now_s: float) -> str:
        """No heater is open here."""
        del where, now_s
        return "0"

    def _ramp_state(self, where: str, now_s: float) -> str:
        """Whether the setpoint is on its way; only the sample heater's is."""
        return str(int(where == "0" and self._ramp.is_under_way(now_s)))

    def _alarm_state(self, channel: str, now_s: float) -> str:
        """Whether an input is above its high and below its low alarm; an input alone without."""
        on, _, high, low, *_ = self._settings.parts("ALARM", channel)
        if on == "0" or channel not in SENSORS:
            return "0,0"
        kelvin = self._inputs.measured_k(channel, now_s)
        return f"{int(kelvin > float(high))},{int(kelvin < float(low))}"

    # --- outputs

    def _begin_ramp(self, now_s: float) -> None:
        """Lead the setpoint from where it is to where it shall be; at once where not by a ramp."""
        target = float(self._settings.text("SETP", "0"))
        on, rate_k_min = self._settings.parts("RAMP", "0")
        per_s = float(rate_k_min) / 60 if on == "1" else 0.0
        begin = self._ramp.at(now_s) if per_s else target
        self._ramp = Ramp(begin, target, now_s, per_s)

    def _heat(self, now_s: float) -> None:
        """Let the outputs act on the cryostat."""
        self._led_to = self._ramp.at(now_s)
        mode, control, *_ = self._settings.parts("OUTMODE", "0")
        if mode == CLOSED_LOOP and control == MIXING_INPUT:
            in_kelvin = self._settings.parts("INTYPE", control)[5] == IN_KELVIN
            self._heater.regulate(self._led_to, self._full_w(), now_s, in_kelvin=in_kelvin)
        else:
            self._heater.give(self._manual_w() if mode == OPEN_LOOP else 0.0, now_s)
        still_w = self._still_percent() / 100 * STILL_FULL_W
        self._cryostat.heat_still(still_w, now_s, by=self.model)

    def _shut_down_above_limits(self, now_s: float) -> None:
        """Switch every output off where an input is above its temperature limit; 0 is none."""
        limits = {channel: float(self._settings.text("TLIMIT", channel)) for channel in SENSORS}
        if any(0 < limit < self._inputs.measured_k(of, now_s) for of, limit in limits.items()):
            for where in OUTPUTS:
                self._settings.put("RANGE", where, "0")
            self._heat(now_s)

    def _still_percent(self) -> float:
        still = self._settings.parts("OUTMODE", "2")[0] == STILL_MODE
        return float(self._settings.text("STILL")) if still else 0.0

    def _manual_w(self) -> float:
        """The manual output: watts or percent of full scale, and never more than that."""
        manual, full_w = float(self._settings.text("MOUT", "0")), self._full_w()
        return min(manual if self._in_power() else (manual / 100) ** 2 * full_w, full_w)

    def _full_w(self) -> float:
        """What the sample heater gives at the end of its range."""
        ohm = float(self._settings.parts("HTRSET", "0")[0])
        return ohm * HEATER_RANGES_A[int(self._settings.text("RANGE", "0"))] ** 2

    def _in_power(self) -> bool:
        return self._settings.parts("HTRSET", "0")[3] == IN_POWER
