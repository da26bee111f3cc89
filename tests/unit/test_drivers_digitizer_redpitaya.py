"""A Red Pitaya's stream, against a server that plays its packets: headers, losses, refusals."""

from __future__ import annotations

import socket

import numpy as np
import pytest
from pydantic import ValidationError

from daq.errors import NotConnectedError, ReplyError, SilentError, UsageError
from daq.model.block import Gap
from daq.model.clock import Anchor
from drivers import catalogue
from drivers.digitizer.redpitaya import RedpitayaDigitizer
from drivers.digitizer.settings import DigitizerSettings
from drivers.settings import Digitizers
from tests.digitizer_server import values
from tests.standins.redpitaya_server import ID, RedpitayaServer, pack, packet

T0_NS = 1_789_000_000_000_000_000
WAIT_S = 5.0
SECTION = {
    "model": "redpitaya",
    "resource": "tcp://127.0.0.1:18900",
    "channels": [0, 1],
    "rate_hz": 125_000.0,
}
ROW = values(0, 10, 1)[0]


def settings(**changes):
    return Digitizers.model_validate({"d": {**SECTION, **changes}}).root["d"]


class Now:
    ns = T0_NS

    def __call__(self):
        return self.ns


@pytest.fixture
def now():
    return Now()


@pytest.fixture
def server():
    server = RedpitayaServer()
    yield server
    server.close()


@pytest.fixture
def make(server, now, request):
    def made(**changes):
        chosen = settings(resource=server.resource, **changes)
        digitizer = RedpitayaDigitizer("d", chosen.resource, chosen, timeout_s=WAIT_S, now_ns=now)
        request.addfinalizer(digitizer.close)
        return digitizer

    return made


def read(digitizer, n_events):
    return [digitizer.read(WAIT_S) for _ in range(n_events)]


@pytest.mark.parametrize("header", [56, 57, 64, 128])
def test_the_channels_of_a_pack_are_joined_whatever_its_header(server, make, header):
    server.send(pack(7, 0, 1000, header=header), pack(8, 1000, 1500, header=header), ID)
    digitizer = make()
    facts = digitizer.connect()
    digitizer.start(0)
    first, second = read(digitizer, 2)
    assert (first.start, first.stop, second.start, second.stop) == (0, 1000, 1000, 1500)
    np.testing.assert_array_equal(first.samples, values(0, 1000, 2))
    np.testing.assert_array_equal(second.samples, values(1000, 1500, 2))
    assert first.samples.flags.c_contiguous
    assert not first.samples.flags.writeable
    assert (facts.name, facts.channels, facts.rate_hz) == ("d", ("IN1", "IN2"), 125_000.0)
    assert (facts.volts_per_count, facts.can_wait) == (1 / 32768, False)


def test_the_first_sample_was_converted_two_packs_ago_when_the_second_begins_to_come(server, make):
    server.send(pack(0, 0, 1000), ID)
    facts = make().connect()
    assert facts.anchor == Anchor(0, T0_NS - 2000 * 8_000)
    assert (facts.oldest, facts.next) == (0, 0)


def test_rows_are_in_the_order_of_the_section(server, make):
    server.send(pack(0, 0, 10), ID)
    digitizer = make(channels=[1, 0])
    assert digitizer.connect().channels == ("IN2", "IN1")
    np.testing.assert_array_equal(digitizer.read(WAIT_S).samples, values(0, 10, 2)[::-1])


def test_what_the_board_counts_as_lost_is_an_exact_gap(server, make):
    server.send(pack(0, 0, 100, lost=50), pack(1, 130, 200, lost=30), pack(2, 200, 210), ID)
    digitizer = make()
    digitizer.connect()
    first, gap, second, third = read(digitizer, 4)
    assert (first.start, gap) == (0, Gap(100, 130, exact=True))
    assert (second.start, third.start) == (130, 200)
    np.testing.assert_array_equal(second.samples, values(130, 200, 2))


def test_packs_that_are_missing_are_an_estimated_gap(server, make):
    server.send(pack(0, 0, 100), pack(3, 300, 400), pack(4, 400, 410), ID)
    digitizer = make()
    digitizer.connect()
    _, gap, second, _ = read(digitizer, 4)
    assert gap == Gap(100, 300, exact=False)
    np.testing.assert_array_equal(second.samples, values(300, 400, 2))


def test_a_pack_that_comes_in_part_is_missing(server, make):
    half = packet(1, 0, values(100, 200, 1)[0])
    server.send(pack(0, 0, 100), half, pack(2, 200, 300), ID)
    digitizer = make()
    digitizer.connect()
    _, gap, second = read(digitizer, 3)
    assert gap == Gap(100, 200, exact=False)
    assert second.start == 200


@pytest.mark.parametrize(
    "noise",
    [b"x" * 100, ID[:9], b"\xff" * 7 + b"\xa0\xa0"],
    ids=["text", "half an ID", "almost an ID"],
)
def test_what_is_no_packet_is_passed_over(server, make, noise, caplog):
    packs = [pack(n, 100 * n, 100 * n + 100) for n in range(3)]
    server.send(noise, *packs[:2], noise, packs[2], ID)
    digitizer = make()
    digitizer.connect()
    first, gap, second = read(digitizer, 3)
    np.testing.assert_array_equal(first.samples, values(0, 100, 2))
    assert gap == Gap(100, 200, exact=False)  # nothing says that the pack before the noise is whole
    np.testing.assert_array_equal(second.samples, values(200, 300, 2))
    assert "between packets" in caplog.text


def test_half_a_packet_is_silence_and_is_continued(server, make):
    whole = pack(1, 10, 20)
    server.send(pack(0, 0, 10), whole[:40])
    digitizer = make()
    digitizer.connect()
    digitizer.read(WAIT_S)
    for part in (whole[40:60], whole[60:100], whole[100:] + ID):
        with pytest.raises(SilentError, match="sends nothing"):
            digitizer.read(0.05)
        server.send(part)
    np.testing.assert_array_equal(digitizer.read(WAIT_S).samples, values(10, 20, 2))


def test_an_anchor_comes_every_second(server, make, now):
    server.send(*(pack(number, number * 5000, number * 5000 + 5000) for number in range(40)), ID)
    digitizer = make()
    anchor = digitizer.connect().anchor
    assert anchor.t_ns == T0_NS - 2 * 5000 * 8_000
    events = []
    while not events or events[-1].start < 39 * 5000:
        now.ns = T0_NS + len(events) * 5000 * 8_000
        event = digitizer.read(WAIT_S)
        if isinstance(event, Anchor):
            assert abs(event.t_ns - anchor.t_ns - event.sample * 8_000) < 1000
            assert event.sample == 125_000
            event = digitizer.read(WAIT_S)
        events.append(event)
    assert len(events) == 40


def test_a_closed_connection_is_a_new_stream(server, make):
    server.send(pack(5, 0, 10), ID)
    digitizer = make()
    first = digitizer.connect()
    server.drop()
    digitizer.read(WAIT_S)
    with pytest.raises(NotConnectedError, match="closed the connection"):
        digitizer.read(WAIT_S)
    server.send(pack(0, 0, 10), ID)  # it counts its packs anew
    assert digitizer.connect().stream != first.stream
    assert digitizer.read(WAIT_S).start == 0


def test_a_board_that_does_not_stream_is_silent(server):
    chosen = settings(resource=server.resource)
    digitizer = RedpitayaDigitizer("d", chosen.resource, chosen, timeout_s=0.05)
    with pytest.raises(SilentError, match="sends nothing"):
        digitizer.connect()
    digitizer.close()


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (packet(0, 2, ROW), r"expected the channels \[0, 1\] .* found channel 2"),
        (packet(0, 0, ROW, bits=8), "expected samples of 16 bits .* found 8 bits"),
        (packet(0, 0, ROW, n_channels=1), "samples of 2 channels from .*, found 20 bytes"),
        (packet(0, 0, ROW[:0], header=57), "0 bytes of samples in packets of 57"),
        (2 * packet(3, 0, ROW) + ID, "expected pack 3 once from .*, found channel 0 twice"),
        (packet(0, 0, ROW, header=60), r"headers of \(56, 57, 64, 128\) bytes"),
        (packet(0, 0, ROW, lost=1 << 60), "packets up to 16777216 bytes .* lost"),
        (ID + b"\xff" * 40, "expected packets up to 16777216 bytes .* found 18446744073709551615"),
        (
            packet(0, 0, ROW) + packet(0, 1, ROW[:9]) + ID,
            r"equal length .* found \[9, 10\] samples",
        ),
        (b"x" * ((16 << 20) + 100), "expected packets from .* bytes without one"),
    ],
    ids=lambda value: value if isinstance(value, str) else "sent",
)
def test_a_packet_against_the_manual_is_refused(server, make, sent, message):
    server.send(sent)
    with pytest.raises(ReplyError, match=message):
        make().connect()


def test_the_rate_is_the_whole_divider_of_the_board_s_clock_that_was_meant(server, make):
    server.send(pack(0, 0, 100), ID)
    assert make(rate_hz=5.208e6).connect().rate_hz == 125e6 / 24


@pytest.mark.parametrize("base_hz", [120_000_000, 0])
def test_a_rate_that_the_board_cannot_make_is_refused(server, make, base_hz):
    server.send(*(packet(0, channel, ROW, base_hz=base_hz) for channel in range(2)), ID)
    with pytest.raises(ReplyError, match=rf"that 1.5625e\+07 Hz divides .* one of {base_hz} Hz"):
        make(rate_hz=15.625e6).connect()


@pytest.mark.parametrize("length", [1, 9, 10, 60, 150, 199])
def test_a_packet_that_was_cut_short_is_never_made_whole_with_the_next(server, make, length):
    packs = [pack(n, 100 * n, 100 * n + 100) for n in range(4)]
    cut = packs[1][:-length]  # what follows would be taken for its last samples
    server.send(packs[0], cut, packs[2], packs[3], ID)
    digitizer = make()
    digitizer.connect()
    first, gap, after, last = read(digitizer, 4)
    np.testing.assert_array_equal(first.samples, values(0, 100, 2))
    assert (gap.start, gap.stop, gap.exact) == (100, 200, False)
    np.testing.assert_array_equal(after.samples, values(200, 300, 2))
    np.testing.assert_array_equal(last.samples, values(300, 400, 2))


def test_packs_that_go_back_are_refused(server, make):
    server.send(pack(5, 0, 10), pack(4, 10, 20), ID)
    digitizer = make()
    digitizer.connect()
    digitizer.read(WAIT_S)
    with pytest.raises(ReplyError, match=r"expected a pack after 5 .* found pack 4"):
        digitizer.read(WAIT_S)


def test_a_board_that_is_away_is_not_connected():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for resource in (f"tcp://127.0.0.1:{port}", "tcp://127.0.0.1:99999"):
        digitizer = RedpitayaDigitizer("d", resource, settings(resource=resource))
        with pytest.raises(NotConnectedError, match=f"cannot reach {resource}"):
            digitizer.connect()


def test_a_closed_digitizer_says_so():
    with pytest.raises(NotConnectedError, match=r"the connection to .* is closed"):
        RedpitayaDigitizer("d", "tcp://127.0.0.1:1", settings()).read(0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resource": "rp-f0abcd.local"}, "expected tcp://HOST:PORT, found 'rp-f0abcd.local'"),
        ({"channels": [0, 4]}, "expected inputs from 0 to 3, found 4"),
        ({"channels": [0, 0]}, "expected each input once, found 0 twice"),
        ({"channels": []}, "at least 1 item"),
        ({"rate_hz": 1.0}, "greater than or equal to 1000"),
        ({"range_v": "20"}, "valid number"),
        ({"decimation": 8}, "Extra inputs are not permitted"),
    ],
)
def test_a_section_that_cannot_be_is_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        settings(**change)


def test_the_model_is_in_the_catalogue_and_made_from_its_section():
    driver = catalogue.digitizer("redpitaya")
    assert isinstance(driver.from_settings("d", settings()), RedpitayaDigitizer)
    with pytest.raises(UsageError, match="expected RedpitayaSettings, found DigitizerSettings"):
        driver.from_settings("d", DigitizerSettings(model="x", resource="y"))
