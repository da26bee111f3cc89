"""STAR Cryo's write-only electronics, and the interface that it shares with the Magnicon."""

from __future__ import annotations

import contextlib
import queue
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daq.errors import NotConnectedError, OutOfRangeError, RefusedError, ReplyError, UsageError
from drivers.parameter import NoValueError, to_plain
from drivers.squid.magnicon import Magnicon, checked, framed
from drivers.squid.squid_channel import LoopMode, NotOfferedError, SquidChannel, squid_channels
from drivers.squid.starcryo import Converter, Squid, StarCryo, StarCryoWide, with_parity
from drivers.temperature.lakeshore372 import Lakeshore372
from tests.line_server import Deed, LineServer

WAIT_S = 10.0
NOWHERE = "TCPIP::127.0.0.1::1::SOCKET"
START = [  # what initialize says to address 1: the word, then the converters
    "01D00800",
    "01600000",
    "01E00001",
    "01E00002",
    "01600003",
    "01607FF4",
]


class Listener:
    """Hears frames and never answers; `heard` gives the next ones."""

    def __init__(self) -> None:
        self.frames: queue.Queue[str] = queue.Queue()

    def __call__(self, frame: str) -> Deed:
        self.frames.put(frame)
        return Deed.SILENCE

    def heard(self, count: int) -> list[str]:
        return [self.frames.get(timeout=WAIT_S) for _ in range(count)]


@pytest.fixture
def listener():
    return Listener()


@pytest.fixture
def server(listener):
    with contextlib.closing(LineServer(listener, end=b";")) as server:
        yield server


@pytest.fixture
def starcryo(server):
    with contextlib.closing(StarCryo(server.tcp, channels=[1, 3], sleep=no_sleep)) as instrument:
        yield instrument


@pytest.fixture
def ready(starcryo, listener):
    """Channel 1 after initialize; what was said is forgotten."""
    starcryo.squids[1].initialize()
    listener.heard(len(START))
    return starcryo.squids[1]


def no_sleep(_duration_s):
    pass


# --- STAR Cryo: the frames ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "frame"),
    [
        ("01500408", "01500408"),  # lock
        ("01500409", "01D00409"),  # reset asserted
        ("01500400", "01D00400"),  # array lock
        ("01500800", "01D00800"),  # tune
        ("01501800", "01501800"),  # heater
        ("01608000", "01E08000"),  # S_flux 50 uA
        ("01608002", "01608002"),  # S_bias 1 mA
        ("01607FF4", "01607FF4"),  # offset 0
    ],
)
def test_parity_is_that_of_the_literal_frames(data, frame):
    assert with_parity(data) == frame


@given(st.integers(0, 2**32 - 1))
def test_every_frame_has_an_odd_number_of_ones_and_keeps_the_rest(bits):
    frame = int(with_parity(f"{bits & ~0x800000:08X}"), 16)
    assert frame.bit_count() % 2 == 1
    assert frame & ~0x800000 == bits & ~0x800000


@pytest.mark.parametrize("data", ["015004", "0150040g", "01500408;", ""])
def test_what_is_no_frame_is_refused(data):
    with pytest.raises(ReplyError, match="expected 8 upper-case hex digits, found"):
        with_parity(data)


@pytest.mark.parametrize(
    ("name", "value", "frame"),
    [
        ("flux", 50.0, "01E08000"),
        ("bias", 1000.0, "01608002"),
        ("offset", 0.0, "01607FF4"),
        ("mode", "LOCKED", "01500408"),
    ],
)
def test_values_are_the_literal_frames(ready, listener, name, value, frame):
    getattr(ready, name).write(value)
    assert listener.heard(1) == [frame]


def test_it_speaks_over_a_serial_line(server, listener):
    with contextlib.closing(StarCryo(server.serial, channels=[2], sleep=no_sleep)) as starcryo:
        starcryo.squids[2].flux.write(50.0)
        assert listener.heard(1) == [with_parity("02608000")]


def test_a_bit_is_written_without_changing_the_others(ready, listener):
    ready.mode.write("LOCKED")
    ready.resistor.write(10.0)
    ready.capacitor.write(15.0)
    ready.test_flux.write(True)
    ready.stage.write("ARRAY")
    words = [frame[4:] for frame in listener.heard(5)]
    assert words == ["0408", "040C", "050C", "054C", "0544"]


def test_an_open_loop_feeds_back_nowhere(ready, listener):
    ready.stage.write("SQUID")
    ready.mode.write("LOCKED")
    ready.mode.write("OPEN")
    assert [frame[4:] for frame in listener.heard(3)] == ["0800", "0408", "0800"]


def test_resetting_the_loop_is_the_literal_frames_and_leaves_it_locked(ready, listener):
    ready.reset_loop()
    assert listener.heard(3) == ["01500408", "01D00409", "01500408"]
    assert ready.mode.read() is LoopMode.LOCKED


def test_the_heater_is_on_while_it_is_said_again_and_off_at_the_end(server, listener):
    slept = []
    with contextlib.closing(StarCryo(server.tcp, channels=[1], sleep=slept.append)) as starcryo:
        starcryo.squids[1].initialize()
        listener.heard(len(START))
        starcryo.squids[1].mode.write("LOCKED")
        slept.clear()
        starcryo.squids[1].heat()
        frames = listener.heard(13)
    assert frames == ["01500408", "01D00800", *["01501800"] * 10, "01D00800"]
    assert [wait for wait in slept if wait > 0.05] == [0.1] * 10
    assert starcryo.squids[1].mode.read() is LoopMode.OPEN


def test_frames_are_paced(server, listener):
    """Nine characters at 9600 baud and 2 ms of peace, on a clock that stands still."""
    slept = []
    instrument = StarCryo(server.tcp, channels=[1], clock=lambda: 0.0, sleep=slept.append)
    with contextlib.closing(instrument):
        instrument.squids[1].bias.write(1.0)
        instrument.squids[1].bias.write(2.0)
        listener.heard(2)
    assert slept == [pytest.approx(0.0115)]


# --- STAR Cryo: what is known -------------------------------------------------------------------


def test_initialize_makes_everything_known(starcryo, listener):
    starcryo.squids[1].initialize()
    assert sorted(listener.heard(len(START))) == sorted(START)
    for bound in starcryo.parameters():
        if bound.name.startswith("squid 1."):
            assert bound.source == "shadow"
            (reading,) = bound.as_readings(bound.read(), 0)
            assert reading.source == "shadow"
            assert not reading.value or reading.value in ("OPEN", "SQUID", 100.0, 1.5)
    with pytest.raises(NoValueError, match=r"squid 3.bias is unknown: it cannot be read"):
        starcryo.squids[3].bias.read()


def test_to_connect_sends_nothing_that_nobody_wrote(starcryo, listener):
    starcryo.squids[3].bias.write(1000.0)
    assert listener.heard(1) == [with_parity("03608002")]


def test_a_switch_of_an_unknown_word_is_refused_and_nothing_is_sent(starcryo, server):
    with pytest.raises(RefusedError, match=r"switches of squid 1 .*: expected initialize first"):
        starcryo.squids[1].mode.write("LOCKED")
    with pytest.raises(NoValueError):
        starcryo.squids[1].mode.read()
    assert server.connections == 0


@pytest.mark.parametrize("name", ["reset_loop", "heat"])
def test_what_needs_the_word_is_refused_while_it_is_unknown(starcryo, server, name):
    with pytest.raises(RefusedError, match="expected initialize first"):
        getattr(starcryo.squids[1], name)()
    assert server.connections == 0


def test_on_a_new_line_the_whole_state_is_sent_again_and_stays_known(starcryo, listener, server):
    first, third = starcryo.squids[1], starcryo.squids[3]
    first.initialize()
    first.bias.write(1000.0)
    first.mode.write("LOCKED")
    third.flux.write(50.0)
    listener.heard(len(START) + 3)
    starcryo.close()
    third.array_bias.write(10.0)
    again = listener.heard(8)
    assert server.connections == 2
    assert sorted(again[:5]) == sorted(["01608002", "01600000", "01E00001", "01600003", "01607FF4"])
    assert again[5:] == ["01500408", with_parity("03608000"), with_parity("036019A3")]
    assert first.mode.read() is LoopMode.LOCKED


def test_resend_sends_all_that_was_written(ready, starcryo, listener):
    starcryo.resend()
    assert sorted(listener.heard(len(START))) == sorted(START)


def test_a_line_that_was_lost_is_noticed_and_the_state_restored(ready, listener, server):
    ready.bias.write(1000.0)
    listener.heard(1)
    ready.instrument.link.close()  # as a pulled cable does, seen from here
    ready.flux.write(50.0)
    assert "01608002" in listener.heard(len(START) + 1)


def test_a_write_that_failed_changes_nothing_that_we_claim():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with contextlib.closing(StarCryo(f"TCPIP::127.0.0.1::{port}::SOCKET")) as starcryo:
        with pytest.raises(NotConnectedError):
            starcryo.squids[1].bias.write(5.0)
        with pytest.raises(NoValueError):
            starcryo.squids[1].bias.read()
        assert starcryo.squids[1].state() == []


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("bias", 2001, "2001 uA is outside 0 to 2000 uA"),
        ("flux", -1, "-1 uA is outside 0 to 100 uA"),
        ("offset", 9.9, "9.9 mV is outside -9.8 to 9.8 mV"),
        ("resistor", 30.0, "expected one of 1, 10, 100 kohm, found 30"),
        ("capacitor", True, "expected a number of nF, found True"),
        ("mode", "AMP", "expected one of OPEN, LOCKED, found 'AMP'"),
        ("test_flux", 1, "expected true or false, found 1"),
    ],
)
def test_what_is_not_allowed_is_never_sent(starcryo, server, name, value, message):
    with pytest.raises(OutOfRangeError, match=message):
        getattr(starcryo.squids[1], name).write(value)
    assert server.connections == 0


def test_a_value_is_what_the_converter_makes_of_it(ready):
    assert ready.bias.write(1000.0) == pytest.approx(1000.244)
    assert ready.offset.write(5.0) == pytest.approx(1044 * 9.8 / 2047, abs=1e-6)


@given(st.sampled_from(["bias", "flux", "array_bias", "array_flux", "offset"]), st.floats(0, 1))
def test_a_converter_is_within_half_a_step_and_never_out_of_its_twelve_bits(name, fraction):
    kind = getattr(Squid, name).datatype
    assert isinstance(kind, Converter)
    described = kind.describe()
    value = described.minimum + fraction * (described.maximum - described.minimum)
    held = kind.refuse(value)
    assert abs(held - value) <= kind.full_scale / (0x7FF if kind.bipolar else 0xFFF) / 2 + 1e-6
    assert kind.parse(kind.format(held)) == held


def test_two_models_for_two_full_scales_of_the_array_flux():
    for kind, full in ((StarCryo, 100.0), (StarCryoWide, 200.0)):
        squid = kind(NOWHERE, channels=[1]).squids[1]
        assert squid.array_flux.parameter.datatype.describe().maximum == full


# --- one interface over both ----------------------------------------------------------------------


class MagniconDevice:
    """A Magnicon of the tests: what it holds, by the letter and operation of a read."""

    def __init__(self) -> None:
        self.held = {
            "<01b8": "1",
            "<01c8": "071C",
            "<01f8": "000",
            "<01j8": "800",
            "<01n9": "C",
            "<01q8": "20001",
            "<01P8": "11C020A00000",
            "<01r8": "800",
        }

    def __call__(self, line: str) -> bytes | Deed:
        text = checked(line)
        if text in self.held:
            return f"{framed('>' + self.held[text])}\r".encode()
        operation = {"0": "8", "1": "9"}[text[4]]
        self.held[text[:4] + operation] = text[5:]
        return f"{framed('|0')}\r".encode()


@pytest.fixture
def magnicon():
    with (
        contextlib.closing(LineServer(MagniconDevice(), end=b"\r")) as server,
        contextlib.closing(Magnicon(server.tcp, channels=[1], sleep=no_sleep)) as instrument,
    ):
        yield squid_channels(instrument)[1]


@pytest.fixture
def star(ready):
    return SquidChannel(ready)


@pytest.fixture(params=["magnicon", "star"])
def channel(request):
    return request.getfixturevalue(request.param)


def test_tuning_does_not_know_the_vendor(channel):
    assert channel.name == "squid 1"
    assert channel.mode.write(LoopMode.OPEN).value is LoopMode.OPEN
    held = channel.bias.write(20e-6)
    assert held.value == pytest.approx(20e-6, rel=0.02)
    assert held.unit == "A"
    assert channel.flux.write(10e-6).value == pytest.approx(10e-6, rel=0.01)
    assert channel.offset.write(1e-3).value == pytest.approx(1e-3, rel=0.01)
    assert channel.feedback.write(10e3).value == 10e3
    assert channel.test_signal.write(True).value is True
    assert channel.test_signal.read().value is True
    channel.reset_loop()
    assert channel.mode.read().value is LoopMode.LOCKED


def test_every_offer_can_be_read_and_says_where_it_is(channel):
    for name, offer in channel.offers().items():
        held = getattr(channel, name).read()
        assert (held.unit, held.source) == (offer.unit, offer.source)
        assert offer.parameter.startswith("squid 1.")
        assert name in channel.capabilities
        if isinstance(held.value, float) and offer.minimum is not None:
            assert offer.minimum <= held.value <= offer.maximum
        elif isinstance(held.value, float):
            assert held.value in offer.choices


def test_every_name_is_of_the_interface(channel):
    for name in channel.capabilities:
        assert name in vars(SquidChannel)
        assert vars(SquidChannel)[name].title.endswith(".")


def test_values_say_whether_they_were_read(magnicon, star):
    assert magnicon.bias.read().source == "read"
    assert star.bias.read().source == "shadow"


def test_ranges_and_choices_are_in_si(magnicon, star):
    assert magnicon.offers()["bias"].maximum == pytest.approx(180e-6)
    assert star.offers()["bias"].maximum == 2e-3
    assert magnicon.offers()["tes_range"].choices == (125e-6, 500e-6)
    assert star.offers()["feedback"].choices == (1e3, 10e3, 100e3)
    assert star.offers()["integrator"].choices == (1.5e-9, 15e-9, 150e-9)
    assert star.offers()["mode"].choices == ("OPEN", "LOCKED")


def test_an_offer_is_enough_to_write_through_the_service(magnicon):
    """What a procedure does that sees only names: value / to_si, or the member, in its part."""
    offer = magnicon.offers()["tes_bias"]
    assert (offer.parameter, offer.part, offer.to_si) == ("squid 1.tes_bias", "current", 1e-6)
    assert magnicon.offers()["tes_range"].members == {"UA_125": 125e-6, "UA_500": 500e-6}


@pytest.mark.parametrize("choice", [1.5e-9, 15e-9, 150e-9])
def test_a_choice_in_si_is_found_whatever_dust_the_units_leave(star, choice):
    assert star.integrator.write(choice).value == choice


def test_tes_bias_keeps_its_current_when_the_range_changes(magnicon):
    magnicon.tes_range.write(500e-6)
    assert magnicon.tes_bias.write(100e-6).value == pytest.approx(100e-6, rel=0.001)
    assert magnicon.tes_range.write(125e-6).value == 125e-6
    assert magnicon.tes_bias.read().value == pytest.approx(100e-6, rel=0.001)
    magnicon.tes_range.write(500e-6)
    magnicon.tes_bias.write(400e-6)
    with pytest.raises(OutOfRangeError, match=r"current: 399.986 uA is outside -125 to 125 uA"):
        magnicon.tes_range.write(125e-6)


def test_what_a_vendor_lacks_is_absent_by_name(magnicon, star):
    with pytest.raises(NotOfferedError, match="squid 1 of Magnicon has no heat: expected one of"):
        magnicon.heat()
    with pytest.raises(NotOfferedError, match="squid 1 of StarCryo has no tes_bias: expected one"):
        star.tes_bias.read()
    assert "heat" in star.capabilities
    assert "heat" not in magnicon.capabilities
    assert "array_bias" not in magnicon.capabilities


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("bias", "20 uA", "expected a number of A, found '20 uA'"),
        ("bias", 1.0, r"is outside 0 to \d+ uA"),
        ("feedback", 12345.0, "expected one of .* kohm, found 12.345"),
        ("mode", "AMP", "expected one of OPEN, LOCKED, found 'AMP'"),
        ("test_signal", 1, "expected true or false, found 1"),
    ],
)
def test_what_makes_no_sense_is_refused(channel, name, value, message):
    with pytest.raises(OutOfRangeError, match=message):
        getattr(channel, name).write(value)


def test_a_range_there_is_not_is_refused(magnicon):
    with pytest.raises(OutOfRangeError, match=r"expected one of 0.000125, 0.0005 A, found 0.001"):
        magnicon.tes_range.write(1e-3)


def test_an_instrument_without_squids_offers_none():
    with pytest.raises(UsageError, match="expected SQUID electronics, found Lakeshore372"):
        squid_channels(Lakeshore372(NOWHERE))


def test_held_values_are_plain_for_messages(channel):
    for name in channel.offers():
        assert isinstance(to_plain(getattr(channel, name).read().value), (float, str, bool))
