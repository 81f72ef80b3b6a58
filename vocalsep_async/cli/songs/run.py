"""Separates songs: what they cost, the question, the run, and what became of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
from anyio.to_thread import run_sync
from attrs import frozen

from vocalsep_async import (
    AuthenticationError,
    ConfigurationError,
    DownloadOptions,
    InvalidArgumentError,
    Journal,
    RateLimit,
    SeparationType,
    SongRunner,
    VocalSepClient,
    VocalSepError,
)
from vocalsep_async._songs.preview import Preview
from vocalsep_async._text import counted
from vocalsep_async.cli.activity import Activity
from vocalsep_async.cli.options import Settings
from vocalsep_async.cli.output import Output
from vocalsep_async.cli.process import ExitCode, StopSignal
from vocalsep_async.cli.run import check_file, check_folder, recorder_for
from vocalsep_async.cli.songs.board import SongBoard
from vocalsep_async.cli.songs.question import agrees, can_ask
from vocalsep_async.cli.songs.quote import Quote, amount
from vocalsep_async.cli.songs.sources import JOURNAL, Songs, songs_in
from vocalsep_async.cli.songs.summary import cost, interruption, summary, uncertain_songs
from vocalsep_async.cli.songs.view import SongView
from vocalsep_async.songs import OnUncertain

_BALANCE_PATIENCE = 60.0
"""Seconds in which the account says what it has: it is shown, and nothing depends on it."""


@frozen(kw_only=True)
class SeparateOptions:
    """Which songs to separate, and how.

    Attributes:
        sources: files, links, folders and lists.
        type: what to make of songs that do not say so.
        stem_name: the instrument of songs that do not say so; None for none.
        to: the folder for the stems.
        stems: the names of the stems to save; None for all.
        template: where each file goes below that folder.
        journal: the file of the journal; None for the usual one beside the stems.
        max_credits: credits that may be spent; None for no limit.
        is_agreed: whether the cost is agreed to without a question.
        on_uncertain: what becomes of songs that may have been created.
        resubmit: how often a song that failed is created again.
        timeout: seconds for each task; None for no limit.
        as_json: whether outcomes are printed as JSON.
        report: the file of the report; None for none.
    """

    sources: Sequence[str]
    type: SeparationType
    stem_name: str | None
    to: Path
    stems: list[str] | None
    template: str
    journal: Path | None
    max_credits: float | None
    is_agreed: bool
    on_uncertain: OnUncertain
    resubmit: int
    timeout: float | None
    as_json: bool
    report: Path | None

    @property
    def journal_path(self) -> Path:
        """The file of the journal."""
        return self.to / JOURNAL if self.journal is None else self.journal


@frozen
class SongRun:
    """One command that separates songs.

    Args:
        settings: the global options.
        options: those of the command.
        output: where to show it.
        stop: the signal.
    """

    _settings: Settings
    _options: SeparateOptions
    _output: Output
    _stop: StopSignal

    async def quote_only(self) -> ExitCode:
        """Print the songs and what they would cost; send nothing."""
        as_json, output = self._options.as_json, self._output
        with self._stop.scope():
            quote = await self._quote(self._songs())
            for each in quote.songs:
                output.result(quote.row(each) if as_json else quote.line(each))
            # With JSON, standard output holds nothing else.
            say = output.info if as_json else output.result
            for line in (*quote.lines(), "nothing was sent"):
                say(line)
        return ExitCode.SUCCEEDED

    async def run(self) -> ExitCode:
        """Separate the songs; return the exit code.

        Raises:
            OSError: a source cannot be read, or stems or the report cannot be written.
            VocalSepError: the run could not begin, or could not go on.
        """
        options, activity, board = self._options, Activity(), SongBoard()
        songs = self._songs()
        # Before the first request: nothing should be billed that ends with an error of the disk.
        check_folder(options.to)
        if options.report is not None:
            check_file(options.report)
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(self._settings.client(activity))
            # Opened first, so that a second terminal is turned away before it asks.
            journal = await stack.enter_async_context(Journal(options.journal_path))
            # Made first, too, because that checks all options.
            runner = self._runner(client, songs, journal, activity, board)
            before, is_agreed = None, False
            with self._stop.scope():
                quote = await self._quote(songs)
                must_ask = self._must_ask(quote)
                before = await self._balance(client)
                is_agreed = await self._is_agreed(quote, before, must_ask=must_ask)
            if not is_agreed:
                return self._nothing_begun()
            view = SongView(client, activity, board, self._output, len(songs.songs))
            return await self._separated(runner, view, client, before)

    def _songs(self) -> Songs:
        options = self._options
        songs = songs_in(options.sources, options.type, options.stem_name, options.to)
        if songs.files and not self._settings.has_upload_host():
            raise ConfigurationError(
                f"{songs.files[0]} must be uploaded, and no upload host is known for this API: set "
                "VOCALSEP_UPLOAD_URL to that of your provider, or give links to the songs"
            )
        if songs.repeated:
            self._output.info(f"{counted(songs.repeated, 'song')} given twice: once is enough")
        return songs

    def _runner(
        self,
        client: VocalSepClient,
        songs: Songs,
        journal: Journal,
        activity: Activity,
        board: SongBoard,
    ) -> SongRunner:
        options = self._options
        return client.separate_many(
            songs.songs,
            type=options.type,
            download_to=DownloadOptions(
                options.to,
                stems=options.stems,
                template=options.template,
                on_progress=activity.on_progress,
            ),
            timeout=options.timeout,
            journal=journal,
            max_credits=options.max_credits,
            resubmit=options.resubmit,
            on_uncertain=options.on_uncertain,
            on_progress=board.on_progress,
        )

    # What it costs

    async def _quote(self, songs: Songs) -> Quote:
        options, provider = self._options, self._settings.found_provider()
        with Preview.of(options.type, options.resubmit, options.journal_path) as preview:
            # One by one, so that a signal need not wait for all of them.
            found = [await run_sync(preview.look_up, song) for song in songs.songs]
        return Quote(
            songs=tuple(found),
            prices=provider.prices,
            creates_again=options.on_uncertain == "create",
            resubmit=options.resubmit,
            most=options.max_credits,
        )

    async def _balance(self, client: VocalSepClient) -> float | None:
        """What the account has; None if it does not say.

        Raises:
            AuthenticationError: the API rejects the account, as it would reject all that follows.
        """
        try:
            return await client.get_credits(timeout=_BALANCE_PATIENCE)
        except AuthenticationError:
            raise
        except VocalSepError as error:
            self._output.warn(f"what the account has is not known: {error}")
            return None

    def _must_ask(self, quote: Quote) -> bool:
        """Whether the run costs something that was not agreed to.

        Raises:
            ConfigurationError: there is a limit, and a price that it needs is not known.
            InvalidArgumentError: it does, and no person can be asked.
        """
        if quote.most is not None and quote.total is None:
            raise ConfigurationError(
                "a price is not known at this provider, so that --max-credits cannot be kept: "
                "leave it out, and count the songs with --dry-run"
            )
        must_ask = bool(quote.billed) and not self._options.is_agreed
        if must_ask and not can_ask():
            raise InvalidArgumentError(
                f"{price_of(quote)}: add --yes to agree, since there is no terminal to ask on"
            )
        return must_ask

    async def _is_agreed(self, quote: Quote, left: float | None, *, must_ask: bool) -> bool:
        """Say what the run costs, and ask if it must be asked."""
        for line in self._offer(quote, left):
            (self._output.warn if must_ask else self._output.info)(line)
        return not must_ask or await agrees(f"separate {price_of(quote)}?", self._output)

    def _offer(self, quote: Quote, left: float | None) -> Iterator[str]:
        if any(each.state != "new" for each in quote.songs):
            yield f"continuing with {self._options.journal_path}"
        yield from quote.lines()
        if left is not None:
            yield quote.with_account(left)

    def _nothing_begun(self) -> ExitCode:
        is_interrupted = self._stop.received
        self._output.warn(f"{'interrupted; ' if is_interrupted else ''}nothing was created")
        return ExitCode.INTERRUPTED if is_interrupted else ExitCode.FAILED

    # The run

    async def _separated(
        self, runner: SongRunner, view: SongView, client: VocalSepClient, before: float | None
    ) -> ExitCode:
        report = self._options.report
        async with AsyncExitStack() as stack:
            if report is not None:
                recorder = recorder_for(client, RateLimit())
                view.recorder = await stack.enter_async_context(recorder)
            code, after = ExitCode.INTERRUPTED, None
            try:
                with self._stop.scope():
                    code = await view.run(runner, as_json=self._options.as_json)
                    after = await self._balance(client)
            finally:
                # Of a run that an error ended, too: credits may have been spent.
                self._print_end(view, before, after)
            if view.recorder is not None and report is not None:
                # An interrupted run gets its report too.
                with anyio.CancelScope(shield=True):
                    await view.recorder.write(report, wait_for_waveforms=not self._stop.received)
                self._output.file("report", report)
        return code

    def _print_end(self, view: SongView, before: float | None, after: float | None) -> None:
        output, stats = self._output, view.stats
        if stats is not None:
            for line in (
                *summary(stats, view.snapshot(stats)),
                cost(stats.credits_spent, before, after),
            ):
                output.info(line)
        for line in uncertain_songs(view.uncertain):
            output.warn(line)
        if self._stop.received:
            output.warn(interruption(stats, self._options.journal_path))


def price_of(quote: Quote) -> str:
    """How many songs are created, and for how much."""
    songs, total = counted(len(quote.billed), "song"), quote.total
    return f"{songs} for an unknown price" if total is None else f"{songs} for {amount(total)}"
