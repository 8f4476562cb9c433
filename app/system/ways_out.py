"""The way out of each problem whose status alone does not tell it."""

from collections.abc import Mapping

OWN_WAYS_OUT: Mapping[str, str] = {
    "alert-rule-exists": "Change the rule that is there with `PATCH` or `PUT`, or choose another name.",
    "alert-rule-not-found": "`GET /api/system/alert-rules` lists the rules; a default one that was deleted comes back with `POST "
    "…/{rule}/reset`.",
    "alias-not-found": "Read the model: it shows its aliases. Set the alias before it is used.",
    "already-acknowledged": "Nothing is to be done; talk to `acknowledged_by` if you want to take it over.",
    "already-serving": "Nothing is to be done: the version that was asked for answers already.",
    "bad-alias": "`problem` says what is wrong with it. Names such as `champion`, `candidate` or `eu-canary` can be used.",
    "bad-credentials": "Check that the key is whole and of this service, and neither expired nor revoked; `switchyard keys create` "
    "makes a new one.",
    "bad-model-name": "Use the legal name that `suggestion` gives, or another like it.",
    "bad-reference": "Write `name`, `name:3`, `name:2.1.0` or `name@alias`; `GET /api/models` shows the names.",
    "broken-artifact": "Load the file in a fresh process with the versions of the libraries that the service has, save it again with "
    "those, and send it.",
    "champion-changed": "Promote again: the checks are then run against `champion`, what is in production now.",
    "changes-collided": "Send the same request again, with the same idempotency key if it has one: nothing was changed.",
    "channel-configured": "Take the setting that `variable` names out of the environment, and restart the service.",
    "channel-exists": "Choose another name, or delete the channel that is there first: its address can't be changed.",
    "channel-in-use": "Take the channel out of the rules that `rules` names (`PATCH /api/system/alert-rules/{rule}` with other "
    "`channels`), then delete it.",
    "channel-not-found": "`GET /api/system/channels` lists the channels; `POST` there makes one.",
    "channel-unreadable": "Bring the key file back (`SWITCHYARD_CHANNEL_KEY_FILE`; all replicas need the same one), or delete the "
    "channel and make it again.",
    "corrupt-artifact": "Register the version again from its source, and find out what changed the stored bytes.",
    "database-away": "Wait as long as `Retry-After` says, then send the request again; nothing was changed. Predictions go on "
    "meanwhile.",
    "deadline-passed": "Send fewer rows in a call, or again when the model is less busy; `GET /metrics` shows how long its calls "
    "take.",
    "delivery-not-found": "`GET /api/system/deliveries` lists the messages, and each incident shows its own.",
    "deployment-not-found": "`GET /api/deployments` lists those that the key sees.",
    "deployment-settled": "`phase` says how it ended. What it did is undone by a rollback.",
    "deployment-underway": "Wait until the deployment that `deployment_id` names has ended, or abort it.",
    "empty-batch": "Send at least one row in the member that `field` names.",
    "feedback-reader-lost": "Send the same items again, fewer in a call.",
    "files-cleaned-away": "Send the whole registration again, files and all.",
    "first-still-running": "Wait a moment and send the same request with the same key: it gets the first one's answer.",
    "force-needs-admin": "Ask somebody with the role `admin` to force it with a `reason`, or improve the version until its gate opens.",
    "gate-closed": "`failed` says which checks and why. Improve the version, change the model's gates, or, as an administrator "
    "and with a reason, pass `force`.",
    "illegal-move": "`allowed` names the stages to which the version can go from where it is.",
    "incident-is-resolved": "Nothing is to be done. `resolved_by` says by whose hand it ended; null means by itself.",
    "incident-not-found": "`GET /api/system/incidents` lists those that the key sees; what happened to older ones is in `GET "
    "/api/system/audit`.",
    "key-too-narrow": "Use a key for every model, or ask somebody who has one.",
    "key-used-differently": "Use a new idempotency key for a new request.",
    "model-not-found": "`GET /api/models` lists the models that the key sees; names are told apart by case.",
    "model-not-ready": "Wait as long as `Retry-After` says; if it stays like this, `reason` and `/readyz` say why.",
    "model-unknown-column": "`columns` names what is not there; `GET /api/models/{model}` shows the signature with the columns that are.",
    "name-too-close": "Use the name of the existing model, or one that differs in more than case and spelling.",
    "no-credentials": "Send an API key as `Authorization: Bearer <key>`; `switchyard keys create` makes one.",
    "no-default-rule": "`defaults` names those that can be reset. Change this one with `PATCH`, or delete it.",
    "no-good-row": "`first` tells what is wrong with the first row; `GET /api/models/{model}` shows the signature that rows must "
    "have.",
    "no-production-version": "Promote one of the `candidates`, or name a version in the request.",
    "no-reference-yet": "Register the next version with a `reference` sample, a few thousand rows of its training data; or let the "
    "model answer until `rows_wanted` rows are in the log, and ask again: the first rows then become the "
    "reference.",
    "no-route": "Promote a version, or set a route for this environment.",
    "no-such-file": "`files` names the paths that there are; name one as `path`.",
    "no-such-series": "`known` names what can be followed. Any other series can be sent by yourself, to a monitor of the kind "
    "`posted`.",
    "not-of-a-version": "Send `fields` to the address of the model, without a version.",
    "not-of-this-model": "Roll back without `to`, or promote the version instead.",
    "not-prepared": "`replicas` says which are not ready and why. They go on loading: send the request again in a moment.",
    "nothing-to-roll-back-to": "Promote another version instead; this model has no earlier one to return to.",
    "out-of-model-memory": "Withdraw a version that is no longer needed, or give more with `SWITCHYARD_MODEL_MEMORY_BYTES`; "
    "`needed_bytes` says how much.",
    "prediction-not-found": "Take `prediction_id` from the answer to the very call, and ask for the model that answered. Of a moment ago: "
    "ask again in a second or two.",
    "probe-out-of-memory": "Make the model smaller (fewer trees, 32 bits instead of 64), or ask the operator to raise the limit.",
    "probe-timed-out": "Make the model smaller, or save it in a format that loads faster (skops, ONNX, native XGBoost or LightGBM); "
    "or ask the operator to raise the limit.",
    "queue-full": "Wait as long as `Retry-After` says and send the call again, with pauses that grow. Where it stays so, the "
    "model needs more replicas.",
    "regime-monitor-exists": "Send values to the monitor that is there, choose another name, or delete it first, with all that it has "
    "seen.",
    "regime-monitor-not-found": "`GET /api/models/{model}/regimes` lists the model's monitors; `POST` there makes one.",
    "role-too-low": "Use a key of the role that `needed` names, or a higher one, or ask somebody who has it.",
    "route-moved": "Read the route again: its `ETag` is the revision to send as `If-Match`.",
    "route-raced": "Read the route again, see whether the change is still wanted, and repeat it.",
    "semantic-version-taken": "Leave `semantic_version` out to have the next one chosen, or choose an unused one.",
    "series-not-posted": "Send the values to a monitor of the kind `posted`; `POST /api/models/{model}/regimes` makes one.",
    "signs-nothing": "Make a new channel with a new address or key where that has leaked, and delete this one.",
    "silence-not-found": "`GET /api/system/silences` lists those that still hold, with `in_force=false` the earlier ones too.",
    "spool-full": "Bring the database back, or make it faster: the spool empties by itself. More room is given by "
    "`SWITCHYARD_SPOOL_BYTES`.",
    "spool-unwritable": "The operator sees to the disk of the spool (room, rights, a mount that went read-only); then send the "
    "request again.",
    "still-needed": "`needed_by` says who needs the version: move the alias, end the experiment, or promote another.",
    "target-refused": "Use a public address. If the receiver is meant to be inside, the operator allows its network: "
    "`SWITCHYARD_ALLOWED_TARGETS=10.20.0.0/16`.",
    "too-many-outcomes": "Send the items in several calls of `limit` at most. Sending one twice does no harm.",
    "too-many-rows": "Send the rows in several calls of `limit` at most.",
    "too-many-secrets": 'Wait until an earlier one has ended, or rotate with `"grace_hours": 0`, which ends all of them at once.',
    "unknown-format": "Save the model as skops, ONNX, or in the native format of XGBoost or LightGBM.",
    "unknown-payload": "Send exactly one of `instances`, `dataframe_records`, `dataframe_split` and `inputs`; `found` says which "
    "there were.",
    "unsafe-artifact": "`remedy` shows how to save the model in a format that can't run code.",
    "version-needed": "Name one of the `candidates` instead of the model alone.",
    "version-not-found": "`existing` names the latest versions; `GET /api/models/{model}/versions` lists all of them.",
}
