"""What can go wrong with a command, in words for the operator."""

import errno
import sqlite3

from sqlalchemy.exc import DBAPIError

from server.base_models import BaseModelsInvalid
from server.db.migrate import DatabaseTooNew
from server.errors import ApiError
from server.fine_tuning.estimates.prices import PricesInvalid
from server.settings import Settings, SettingsInvalid


class CommandFailed(Exception):
    """The command cannot be done; the message says why and what to do."""


EXPLAINED = (
    CommandFailed,
    SettingsInvalid,
    BaseModelsInvalid,
    PricesInvalid,
    DatabaseTooNew,
    ApiError,
    DBAPIError,
    OSError,
)


def explain(error: Exception, settings: Settings) -> str | None:
    """Say in one line what happened; None: a fault of ours, whose traceback is needed."""
    match error:
        case DBAPIError():
            return _explain_database(error, settings)
        case OSError():
            return _explain_system(error, settings)
    return str(error)


def _explain_database(error: DBAPIError, settings: Settings) -> str | None:
    remedies = {
        sqlite3.SQLITE_FULL: f"no space is left on the disk of {settings.home}; make room and try again",
        sqlite3.SQLITE_BUSY: "the database is busy; try again",
        sqlite3.SQLITE_LOCKED: "the database is busy; try again",
        sqlite3.SQLITE_READONLY: f"{settings.database} cannot be written; run this as the user who owns it",
        sqlite3.SQLITE_CANTOPEN: f"{settings.database} cannot be opened; run this as the user who owns it",
        sqlite3.SQLITE_PERM: f"{settings.database} cannot be opened; run this as the user who owns it",
        sqlite3.SQLITE_NOTADB: f"{settings.database} is not a Tunesmith database; name the right home with --home",
        sqlite3.SQLITE_CORRUPT: f"{settings.database} is damaged; restore it from a copy",
        sqlite3.SQLITE_IOERR: f"the disk of {settings.database} fails, or is full: {error.orig}",
    }
    return remedies.get(getattr(error.orig, "sqlite_errorcode", 0) & 0xFF)  # without SQLite's extension of it


def _explain_system(error: OSError, settings: Settings) -> str:
    place = "" if error.filename is None else f": {error.filename}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space is left on the disk of {error.filename or settings.home}; make room and try again"
    if error.errno == errno.EADDRINUSE:
        return f"port {settings.port} of {settings.host} is in use by another program; name another with --port"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"permission denied{place}; run this as the user who owns the home {settings.home}"
    return f"{error.strerror or error}{place}"
