"""What uvicorn lacks: it waits for a request for ever, and answers in plain text what it cannot read."""

import json

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_LAST_WORDS = 1  # seconds that a client has to read what was wrong
_UNFINISHED = (h11.IDLE, h11.SEND_BODY)


def impatient(seconds: float) -> type[H11Protocol]:
    """uvicorn's protocol, but a connection on which a request makes no progress for so long is closed.

    Args:
        seconds: that a request may take to arrive, and at most twice as many.
    """

    class Impatient(H11Protocol):
        _watch, _is_refused = None, False

        def connection_made(self, transport):
            super().connection_made(transport)
            self._look(None)

        def connection_lost(self, exc):
            self._watch.cancel()
            super().connection_lost(exc)

        def data_received(self, data):
            if not self._is_refused:
                super().data_received(data)

        def _look(self, before):
            now = (self.cycle, self.conn.their_state)
            if now == before and self.conn.their_state in _UNFINISHED:
                self.transport.abort()
            self._watch = self.loop.call_later(seconds, self._look, now)

        def send_400_response(self, msg):
            body = json.dumps({"error": "this is no HTTP request that can be read"}).encode()
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ]
            is_working = self.cycle is not None and not self.cycle.response_complete
            data = h11.Data(data=b"" if is_working and self.scope["method"] == "HEAD" else body)
            if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                for event in (h11.Response(status_code=400, headers=headers), data, h11.EndOfMessage()):
                    self.transport.write(self.conn.send(event))
            if is_working:  # at an answer to what came before
                self.cycle.disconnected, self.cycle.waiting_for_100_continue = True, False
                self.cycle.message_event.set()
            # A connection that is closed while something arrives is reset, and the answer lost: first let it arrive.
            self._is_refused = True
            self.transport.write_eof()
            self.loop.call_later(_LAST_WORDS, self.transport.abort)

    return Impatient
