"""Why the prediction log refuses."""

from dataclasses import dataclass

from app.core.errors import NoSpace, NotFound, TooLarge, Unavailable


@dataclass(eq=False)
class SpoolFull(NoSpace):
    """The spool of the prediction log is full.

    Predictions are logged before they are answered, so none is answered while there is no room. The spool empties
    as the database takes its rows; the operator's limit is `SWITCHYARD_SPOOL_BYTES`.
    """

    limit_bytes: int

    def detail(self) -> str:
        return f"The spool holds its {self.limit_bytes:,} bytes already; the database does not keep up or is away."


@dataclass(eq=False)
class SpoolUnwritable(NoSpace):
    """The spool of the prediction log can't be written.

    Every prediction is written to a local spool before it is answered, so that none is lost. The disk did not
    take it, for the reason that `reason` tells, so nothing was answered.
    """

    reason: str

    def detail(self) -> str:
        return f"Writing the prediction log failed: {self.reason}. The prediction was not answered and not logged."


@dataclass(eq=False)
class PredictionNotFound(NotFound):
    """The log has no such prediction.

    It is not of this model, is older than the log keeps, or has not been shipped to the database yet.
    """

    prediction_id: str

    def detail(self) -> str:
        return f"There is no prediction {self.prediction_id} of this model in the log."


@dataclass(eq=False)
class TooManyOutcomes(TooLarge):
    """One call brings more outcomes than are taken at once.

    The number of items in a call has a limit, so that one caller can't hold up the database for all others.
    Nothing of this call was kept.
    """

    items: int
    limit: int

    def detail(self) -> str:
        return f"{self.items:,} items came, {self.limit:,} are taken in one call; send the rest in further calls."


@dataclass(eq=False)
class FeedbackReaderLost(Unavailable):
    """The process that was reading this feedback ended.

    Large bodies are read in a process of their own, so that they delay nobody. That process ended, most likely
    for want of memory; nothing of the call was kept.
    """

    def detail(self) -> str:
        return "The process that was reading this feedback ended before it was done; send fewer items in one call."
