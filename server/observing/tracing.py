"""Traces of chat requests over OTLP: a span each, with what it came to and nothing of what was said.

Imported only where an endpoint is set. Spans are sent by a thread of their own, in batches; what cannot be sent is
dropped, and the exporter's log says so.
"""

from collections.abc import Iterable, Mapping

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.trace.status import Status, StatusCode

_TIMEOUT_S = 5.0
_PROPAGATOR = TraceContextTextMapPropagator()
_CONTEXT_HEADERS = (b"traceparent", b"tracestate")


class OtlpTracing:
    """The endpoint and everything else of it comes from OpenTelemetry's own variables, OTEL_EXPORTER_OTLP_…"""

    def __init__(self) -> None:
        self._provider = TracerProvider(resource=Resource.create({"service.name": "tunesmith"}))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=_TIMEOUT_S)))
        self._tracer = self._provider.get_tracer("tunesmith.chat")

    def begin(self, headers: Iterable[tuple[bytes, bytes]], asked: Mapping[str, str | int | bool]) -> "ChatSpan":
        """Begin a request's span, as part of the client's trace if it sent one along."""
        carrier = {name.decode(): value.decode("latin-1") for name, value in headers if name in _CONTEXT_HEADERS}
        span = self._tracer.start_span(
            f"chat {asked['gen_ai.request.model']}",
            context=_PROPAGATOR.extract(carrier) if carrier else None,
            kind=SpanKind.SERVER,
            attributes={"gen_ai.operation.name": "chat", "gen_ai.provider.name": "tunesmith", **asked},
        )
        return ChatSpan(self._tracer, span)

    def close(self) -> None:
        """Send what is left. May wait for the receiver, for seconds."""
        self._provider.shutdown()


class ChatSpan:
    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span
        self._to_first_byte: Span | None = None

    def engine_asked(self) -> None:
        """The request has its place, and goes to the engine now."""
        context = set_span_in_context(self._span)
        self._to_first_byte = self._tracer.start_span("engine, to the first byte", context, SpanKind.CLIENT)

    def first_byte(self) -> None:
        if self._to_first_byte is not None:
            self._to_first_byte.end()
            self._to_first_byte = None

    def end(self, status: str, numbers: Mapping[str, int]) -> None:
        self.first_byte()
        self._span.set_attributes({**numbers, "tunesmith.status": status})
        if status in ("5xx", "cut"):
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()
