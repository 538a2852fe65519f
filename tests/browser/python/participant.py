"""A participant on LiveKit's native client: publishes a picture and a tone, watches and listens."""

import asyncio

import numpy
from livekit import rtc
from serve import serve

WIDTH, HEIGHT, FPS = 320, 180, 15
SAMPLE_RATE = 48_000
# 20 ms, as Opus takes them.
SAMPLES = SAMPLE_RATE // 50


class Participant:
    def __init__(self) -> None:
        self.room = rtc.Room()
        self.tasks: set[asyncio.Task] = set()
        self.frames: dict[str, dict] = {}
        self.heard: dict[str, numpy.ndarray] = {}
        self.data: list[dict] = []
        self.disconnected: str | None = None

    def run(self, work) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def connect(self, url: str, token: str, single: bool) -> str:
        self.room.on("track_subscribed", lambda track, _, who: self.subscribed(track, who.identity))
        self.room.on("data_received", self.received)
        self.room.on("disconnected", lambda reason: setattr(self, "disconnected", str(reason)))
        await self.room.connect(url, token, rtc.RoomOptions(single_peer_connection=single))
        return self.room.local_participant.identity

    def subscribed(self, track, identity: str) -> None:
        if track.kind == rtc.TrackKind.KIND_VIDEO:
            self.run(self.watch(track, identity))
        else:
            self.run(self.listen(track, identity))

    def received(self, packet: rtc.DataPacket) -> None:
        sender = packet.participant.identity if packet.participant else None
        self.data.append({"text": packet.data.decode(), "from": sender, "topic": packet.topic})

    async def watch(self, track, identity: str) -> None:
        seen = self.frames.setdefault(identity, {"count": 0})
        async for event in rtc.VideoStream(track):
            seen["count"] += 1
            seen["width"] = event.frame.width

    async def listen(self, track, identity: str) -> None:
        last = numpy.zeros(0, numpy.int16)
        async for event in rtc.AudioStream(track, sample_rate=SAMPLE_RATE, num_channels=1):
            samples = numpy.frombuffer(event.frame.data, dtype=numpy.int16)
            last = numpy.concatenate([last, samples])[-SAMPLE_RATE // 2 :]
            self.heard[identity] = last

    async def publish(self, hz: float) -> None:
        picture = rtc.VideoSource(WIDTH, HEIGHT)
        tone = rtc.AudioSource(SAMPLE_RATE, 1)
        camera = rtc.LocalVideoTrack.create_video_track("camera", picture)
        microphone = rtc.LocalAudioTrack.create_audio_track("microphone", tone)
        self.run(self.draw(picture))
        self.run(self.sound(tone, hz))
        local = self.room.local_participant
        await local.publish_track(
            camera,
            rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_CAMERA, simulcast=False),
        )
        await local.publish_track(
            microphone, rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE, dtx=False)
        )

    async def draw(self, source) -> None:
        pixels = numpy.zeros((HEIGHT, WIDTH, 4), numpy.uint8)
        frame = 0
        while True:
            frame += 1
            pixels[:, :, :] = (frame * 3 % 256, 128, 255 - frame * 3 % 256, 255)
            pixels[40:140, frame * 4 % (WIDTH - 40) :][:, :40] = 255
            source.capture_frame(
                rtc.VideoFrame(WIDTH, HEIGHT, rtc.VideoBufferType.RGBA, pixels.tobytes())
            )
            await asyncio.sleep(1 / FPS)

    async def sound(self, source, hz: float) -> None:
        at = 0
        while True:
            times = (at + numpy.arange(SAMPLES)) / SAMPLE_RATE
            samples = (numpy.sin(2 * numpy.pi * hz * times) * 12_000).astype(numpy.int16)
            at += SAMPLES
            await source.capture_frame(
                rtc.AudioFrame(samples.tobytes(), SAMPLE_RATE, 1, SAMPLES)
            )

    async def seen(self, identity: str) -> dict:
        return self.frames.get(identity, {"count": 0})

    async def tone(self, identity: str) -> float:
        """Loudest frequency of the last half second, in Hz; 0 when silent."""
        samples = self.heard.get(identity)
        if samples is None or samples.size < SAMPLE_RATE // 4 or abs(samples).max() < 200:
            return 0
        spectrum = abs(numpy.fft.rfft(samples))
        return float(spectrum.argmax() * SAMPLE_RATE / samples.size)

    async def send(self, text: str) -> None:
        await self.room.local_participant.publish_data(text, reliable=True, topic="native")

    async def rpc(self, identity: str, payload: str) -> str:
        return await self.room.local_participant.perform_rpc(
            destination_identity=identity, method="double", payload=payload
        )

    async def messages(self) -> list:
        return self.data

    async def reason(self) -> str | None:
        return self.disconnected

    async def leave(self) -> None:
        for task in self.tasks:
            task.cancel()
        await self.room.disconnect()


async def main() -> None:
    await serve(Participant())


asyncio.run(main())
