"""A run's training: the stream batch by batch, an evaluation now and then, and an unlearning phase where it is asked for."""

from tqdm import tqdm

from experiment.epochs import Running
from experiment.evaluation import eval_tasks, finite
from experiment.stream import Continuum, Datasets
from metrics import metrics, unlearning
from model import common, divergence
from model.backbone import Backbone
from model.engine.flat import threads
from model.unlearning import Attack, phase
from results.life import Divergence, Life


def training_threads(model, args) -> int:
    """The threads of training: one for an MLP or a small Transformer, whose small products they would slow down."""
    return args.threads if isinstance(getattr(model, "net", None), common.ResNet18 | Backbone) else 1


def life_experience(
    model, continuum: Continuum, tasks_te: list, args, watch=None, life: Life | None = None, between=None
) -> Life:
    """Learn the stream batch by batch; evaluate every ``log_every`` steps, where the task changes, and at the end.

    ``finish_task``, where the method has it, is called after a task's last evaluation. With ``--stop_at_accuracy`` a task
    ends after the epoch whose running training accuracy reaches it. ``watch(step, task, accuracies, model)``, if given, is
    called after every evaluation. With ``--lca yes`` each task's learning curve is measured too.

    A run begins at the continuum's position; ``life`` is what it measured before. ``between(step, boundary)``, if given,
    is called before every evaluation and step but the first, and after the last step: there, and only there, method,
    continuum and ``life`` together are all that the run goes on from. ``boundary`` says that a task has been learned.
    """
    life = Life() if life is None else life
    i = begun = continuum.position
    current = continuum.task_before(begun)
    finish = getattr(model, "finish_task", lambda: None)
    running, stops = Running(life.epoch), args.stop_at_accuracy != "never"
    known = {}  # of the test sets, for all evaluations

    def evaluate():
        with life.spends("eval"):
            if not finite(model):
                raise FloatingPointError("a parameter is not finite")
            with threads(args.threads):
                unmasked, losses = [], []
                accuracies = eval_tasks(
                    model, tasks_te, args, tally=life.tally, unmasked=unmasked, known=known, losses=losses
                )
            if losses:
                life.losses.append(losses)
            life.result_t.append(current)
            life.result_a.append(accuracies)
            life.unmasked.append(unmasked)
            life.steps.append(i)
            if watch:
                watch(i, current, accuracies, model)

    def follow(task):
        curve = life.curves.setdefault(task, [life.result_a[-1][task]])  # evaluated just before the task's first batch
        if len(curve) > metrics.LCA_BATCHES:
            return
        with life.spends("eval"), threads(args.threads):
            curve.append(eval_tasks(model, tasks_te, args, [task], known=known)[0] if finite(model) else None)

    def end_of_epoch(task):
        accuracy, epochs = running.close(), continuum.epoch
        life.epochs[task] = [epochs, accuracy]
        if accuracy >= args.stop_at_accuracy and epochs < args.n_epochs:
            continuum.end_task()

    with (
        life.spends("train"),
        threads(training_threads(model, args)),
        tqdm(
            total=len(continuum), initial=begun, desc=f"task {current}", unit="step", dynamic_ncols=True, disable=None
        ) as bar,
    ):
        try:
            for i, (x, t, y) in enumerate(continuum, begun):
                if between and i > begun:
                    between(i, t != current)
                if i % args.log_every == 0 or t != current:
                    evaluate()
                    if t != current:
                        finish()
                        current = t
                        bar.set_description(f"task {t}", refresh=False)
                if args.parity and not args.cuda:
                    x = x.clone()  # own memory: the address where a product's operand begins decides its rounding
                if stops:
                    running.add(model, x, t, y)
                model.observe(x, t, y)
                if stops and continuum.epoch_ended:
                    end_of_epoch(t)
                    bar.total = len(continuum)
                if args.lca:
                    follow(t)
                bar.update()
            i = continuum.position
            if between and i > begun:
                between(i, True)
            evaluate()
            for part in continuum.left_out:  # of a joint stream that ended early
                life.result_t.append(part)
                for measured in (life.result_a, life.unmasked):
                    measured.append(measured[-1])
                life.steps.append(i)
            finish()
        except divergence.ERRORS as error:
            life.diverged = Divergence(current, i, divergence.reason(error))
    return life


def unlearn(model, continuum: Continuum, data: Datasets, attack: Attack, life: Life, args, between=None) -> Life:
    """The unlearning phase, and one more evaluation after it; ``between`` as in ``life_experience``.

    A phase that ``life.seen`` shows to have begun goes on where it was.
    """
    with life.spends("forgetting"):
        try:
            with threads(1):
                phase(model, continuum, attack, args, life.seen, between)
            if not finite(model):
                raise FloatingPointError("a parameter is not finite")
        except divergence.ERRORS as error:
            last, why = next(reversed(life.seen), None), divergence.reason(error)
            life.diverged = Divergence(last, sum(life.seen.values()), why, unlearning=True)
            return life
        with threads(args.threads):
            after = eval_tasks(model, data.test, args)
    chance = [1 / len(outputs) for outputs in data.outputs or [range(data.n_outputs)] * data.n_tasks]
    life.unlearning = unlearning.report(life.result_a[-1], after, sorted(attack.tasks), attack.sign, life.seen, chance)
    return life
