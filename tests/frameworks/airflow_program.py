"""Runs the DAG of the Airflow page as a scheduler does, with Airflow's own database and API.

``airflow_program.py [HOOK]`` goes on with the latest run of the DAG, or begins one, and prints how
it stands as JSON. HOOK is one of `HOOKS`, which kill the process in the middle of something, or
"deferred", for a run without a triggerer. A task instance whose process has died fails as one
whose heartbeat is missing.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest
from airflow import settings
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
from airflow.models.dagrun import DagRun
from airflow.models.xcom import XComModel
from airflow.sdk import DAG, timezone
from airflow.sdk.definitions.dag import _run_task
from airflow.serialization.serialized_objects import DagSerialization, create_scheduler_operator
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import select
from sqlalchemy.orm import Session

from vocalsep_async import VocalSepClient
from vocalsep_async.contrib.airflow import SeparateSongOperator, VocalSepHook
from vocalsep_async.instrumentation import CreationSent

ENDS = {DagRunState.SUCCESS, DagRunState.FAILED}
patch = pytest.MonkeyPatch()


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_before_the_request() -> None:
    get_conn = VocalSepHook.get_conn

    def listened(self: VocalSepHook) -> VocalSepClient:
        client = get_conn(self)
        client._engines.listen(lambda event: die() if isinstance(event, CreationSent) else None)
        return client

    patch.setattr(VocalSepHook, "get_conn", listened)


def die_before_the_wait() -> None:
    patch.setattr(SeparateSongOperator, "defer", die)


def die_before_the_download() -> None:
    patch.setattr(VocalSepClient, "download_stems", die)


HOOKS: dict[str, Callable[[], None]] = {
    "killed before the request": die_before_the_request,
    "killed before the wait": die_before_the_wait,
    "killed before the download": die_before_the_download,
    "deferred": lambda: None,
    "": lambda: None,
}


def stored_dag() -> DAG:
    """The DAG of the folder, written to the database as the DAG processor does."""
    bundles = DagBundlesManager()
    bundles.sync_bundles_to_db()
    (bundle,) = bundles.get_all_dag_bundles()
    bag = BundleDagBag(dag_folder=bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
    sync_bag_to_db(bag, bundle.name, bundle.version)
    return bag.dags["songs"]


def latest_run(dag: Any, session: Session) -> DagRun:
    now = timezone.utcnow()
    return session.scalar(select(DagRun)) or dag.create_dagrun(
        run_id="the-run",
        logical_date=now,
        data_interval=(now, now),
        run_after=now,
        conf=json.loads(os.environ["SONGS_CONF"]),
        run_type=DagRunType.MANUAL,
        state=DagRunState.RUNNING,
        triggered_by=DagRunTriggeredByType.TEST,
        session=session,
    )


def go_on(dag: DAG, run: DagRun, session: Session, *, has_triggerer: bool) -> None:
    """Run what can be run, as `DAG.test` does; that one would begin a new run."""
    for instance in run.get_task_instances(session=session):
        instance.task = create_scheduler_operator(dag.task_dict[instance.task_id])
        if instance.state == TaskInstanceState.RUNNING:
            instance.handle_failure("its process has died", session=session)
        if instance.state == TaskInstanceState.UP_FOR_RETRY:
            # As if the delay before the retry were over.
            instance.end_date -= instance.task.retry_delay
    # One that was cleared waits for the scheduler.
    run.state = DagRunState.RUNNING
    session.commit()
    while run.state not in ENDS:
        session.expire_all()
        schedulable, _ = run.update_state(session=session)
        for instance in schedulable:
            instance.try_number += 1
            instance.state = TaskInstanceState.SCHEDULED
        session.commit()
        if not schedulable:
            return
        for instance in schedulable:
            task = dag.task_dict[instance.task_id]
            _run_task(ti=instance, task=task, run_triggerer=has_triggerer)


def main(hook: str) -> None:
    HOOKS[hook]()
    session = settings.Session()
    dag = stored_dag()
    scheduler_dag = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
    run = latest_run(scheduler_dag, session)
    run.dag = scheduler_dag
    go_on(dag, run, session, has_triggerer=hook != "deferred")
    session.expire_all()
    (instance,) = run.get_task_instances(session=session)
    result = session.scalar(
        select(XComModel.value).where(
            XComModel.key == "return_value", XComModel.run_id == run.run_id
        )
    )
    stand = {
        "run": run.state,
        "task": instance.state,
        "tries": instance.try_number,
        "result": result,
    }
    sys.stdout.write(f"{json.dumps(stand)}\n")


if __name__ == "__main__":
    main("".join(sys.argv[1:]))
