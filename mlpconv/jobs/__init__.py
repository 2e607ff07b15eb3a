"""Jobs: a training run from the request to the result.

A training run goes through these steps; each module has one of them:

1. ``request.Request`` says what somebody asks for: a recipe and changes to it, a run to resume or to repeat, weights to
   start from. ``cli/train.py``, ``api.train``, studies and searches each make one. It is data.
2. ``prepare.prepare(request)`` resolves it: it reads the run to resume or to repeat, chooses recipe, device and
   precision, loads the images, and builds the network. Every mistake is found here, before anything is written. The
   result is a ``prepared.PreparedJob``: the ``Job`` (``runs/job.py``), which is data again, and next to it the images
   and start weights in memory. ``prepare.load_job(job)`` gets them for a job that was stored.
3. ``execute.execute(job, out)`` opens the run directory and returns an ``Execution``; iterating over it trains and
   yields events. A resume compares its job with the stored one (``resume.check_same_job``).
4. ``training.trainer.Loop`` trains: it plans each step, calls ``Model.train_step`` of a back end, lets
   ``training.guard_runner.GuardRunner`` check the run five times an epoch, and evaluates each epoch. It writes nothing.
5. ``recorder.Recorder`` writes what the events say: checkpoints, history, weights, result.
6. ``stop.Stop`` says when to stop: on Ctrl-C, on SIGTERM, or when the time is over.

::

    cli/train.py → prepare → execute → Loop → GuardRunner
                                        │         └→ Model.training_state, Model.class_maps
                                        ├→ Model.train_step, Model.logits
                                        └→ events → Recorder → run directory
"""
