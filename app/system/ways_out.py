"""The way out of each problem whose status alone does not tell it."""

from collections.abc import Mapping

OWN_WAYS_OUT: Mapping[str, str] = {
    "alert-rule-exists": "Change the rule that is there with `PATCH` or `PUT`, or choose another name.",
    "alert-rule-not-found": "`GET /api/system/alert-rules` lists the rules; a default one that was deleted comes back with `POST "
    "…/{rule}/reset`.",
    "alias-not-found": "Read the model: it shows its aliases. Set the alias before it is used.",
    "already-acknowledged": "Nothing is to be done; talk to `acknowledged_by` if you want to take it over.",
    "already-serving": "Nothing is to be done: the version that was asked for answers already.",
    "artifact-key-missing": "Add the key of that id to the file that `SWITCHYARD_ARTIFACT_ENCRYPTION_KEY_FILE` "
    "names, below the newest one, each in base64 on a line of its own, and restart the service.",
    "bad-alias": "`problem` says what is wrong with it. Names such as `champion`, `candidate` or `eu-canary` can be used.",
    "bad-credentials": "Check that the key is whole and of this service, and neither expired nor revoked; `switchyard keys create` "
    "makes a new one.",
    "bad-element": "Correct that element. To have the other rows answered in spite of one, send them as "
    "JSON to `POST /api/models/{model}/predict`.",
    "bad-form": '`curl -F \'metadata={"name": "churn"}\' -F artifact=@model.skops …/api/models` sends one as it '
    "should be. Leave the form's `Content-Type`, with its boundary, to the client.",
    "bad-model-name": "Use the legal name that `suggestion` gives, or another like it.",
    "bad-models-in-token": "Have the identity provider put a pattern such as `churn-*` there, or a list of "
    "them, or leave `models` out for every model; then fetch a new token.",
    "bad-reference": "Write `name`, `name:3`, `name:2.1.0` or `name@alias`; `GET /api/models` shows the names.",
    "bad-request": "Send the body in UTF-8, and whole numbers with 4,300 digits at most.",
    "bad-route": "Correct the arms: each of another version of this model in staging, production or deprecated, the one in "
    "production with a share, and the weights adding up to 1; a shadow's share is above 0 and at most 1.",
    "bad-row": "Correct the rows, of which `GET /api/models/{model}` shows the signature; or send them to "
    "`POST /api/models/{model}/predict`, which answers the good ones and tells of each bad one.",
    "bad-sample": "Send CSV in UTF-8, parted by commas, with a first line of names, or Parquet, and "
    "correct what `problem` says. The columns have to be those that the model was trained with.",
    "bad-signature": "Correct each field in `problems`; or leave `signature` out and send a `reference` "
    "sample, from which it is then read.",
    "bad-tensor": "`GET /v2/models/{model}` shows the inputs: send each as a tensor of its datatype and of "
    "the shape `[rows]`; or all in one of `[rows, columns]`, where the property `matrix` is there.",
    "binary-tensors": "Have the client send JSON. With Triton's: `set_data_from_numpy(…, "
    "binary_data=False)` for inputs, `InferRequestedOutput(…, binary_data=False)` for outputs.",
    "blob-not-found": "See that `ARTIFACT_STORAGE_PATH` or `MODEL_STORAGE_BUCKET` names the store that the "
    "service had before. If so, bring the file back from a backup, to `blobs/{the first two digits}/{sha256}`.",
    "body-too-deep": "Send rows as plain lists or objects of values. Where more depth is needed, ask the "
    "operator for a higher `SWITCHYARD_MAX_JSON_DEPTH`; 1,000 is the most.",
    "body-too-large": "Send rows in several calls, and a model's files as a form to `POST /api/models`; or "
    "ask the operator for a higher `SWITCHYARD_MAX_JSON_BYTES`.",
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
    "columns-differ": "Nothing is to be done for the caller. To have a shadow see every request, take one with "
    "the columns of the version that answers, or have callers send smaller bodies.",
    "corrupt-artifact": "Try once more: a bad copy on this machine is dropped, and fetched again. If it "
    "stays so, bring the file that `expected_sha256` names back into the store from a backup; to register "
    "the same bytes again does not mend it.",
    "cross-site": "Send the change from a program, or from a page of this service. For a page elsewhere "
    "under the same site, name its host and port in `SWITCHYARD_ALLOWED_HOSTS`; a proxy in between has to "
    "pass `Host` on as it came.",
    "database-away": "Wait as long as `Retry-After` says, then send the request again; nothing was changed. Predictions go on "
    "meanwhile.",
    "deadline-passed": "Send fewer rows in a call, or again when the model is less busy; `GET /metrics` shows "
    "how long its calls take. The time is `SWITCHYARD_PREDICT_DEADLINE_MS`.",
    "delivery-not-found": "`GET /api/system/deliveries` lists the messages, and each incident shows its own.",
    "deployment-not-found": "`GET /api/deployments` lists those that the key sees.",
    "deployment-settled": "`phase` says how it ended. What it did is undone by a rollback.",
    "deployment-underway": "Wait until the deployment that `deployment_id` names has ended, or abort it.",
    "empty-batch": "Send at least one row in the member that `field` names.",
    "expired-cursor": "Leave `cursor` out to begin at the first page, and read the list to its end within "
    "a day.",
    "feedback-reader-lost": "Send the same items again, fewer in a call.",
    "field-problem": "Correct what `field` names as `problem` says, and send the request again.",
    "file-name-taken": "Rename one of the two, or leave it out, in the form or in the archive that brought "
    "them.",
    "files-cleaned-away": "Send the whole registration again, files and all. If that does not help, the store "
    "has lost files that an earlier version shares: send it with a `reference` or a `signature`, and all are "
    "stored again.",
    "first-still-running": "Wait a moment and send the same request with the same key: it gets the first one's answer.",
    "force-needs-admin": "Ask somebody with the role `admin` to force it with a `reason`, or improve the version until its gate opens.",
    "foreign-cursor": "Send `next` of the page before as it is, with the same address and filters; or "
    "leave `cursor` out to begin at the first page.",
    "foreign-host": "Call the service by a name that it serves, or have the operator add `host` to "
    "`SWITCHYARD_ALLOWED_HOSTS` and restart. With any name there, callers on the same machine need a key, "
    "too.",
    "gate-closed": "`failed` says which checks and why. Improve the version, change the model's gates, or, as an administrator "
    "and with a reason, pass `force`.",
    "headers-too-large": "Send fewer or shorter headers, and look for cookies that a browser or a proxy "
    "adds; what is long belongs in the body.",
    "identity-provider-away": "Use an API key, or send the request again in 5 seconds. The operator sees "
    "to `SWITCHYARD_OIDC_JWKS`; the log says `jwks_not_fetched` and why.",
    "illegal-move": "`allowed` names the stages to which the version can go from where it is.",
    "incident-is-resolved": "Nothing is to be done. `resolved_by` says by whose hand it ended; null means by itself.",
    "incident-not-found": "`GET /api/system/incidents` lists those that the key sees; what happened to older ones is in `GET "
    "/api/system/audit`.",
    "internal-error": "Tell the operator the `request_id`: under it the log has `unplanned_error` with the cause.",
    "invalid-request": "Correct each field that `errors` tells of, and send the request again; `/docs` "
    "shows what each address takes.",
    "key-name-taken": "`GET /api/system/keys` shows the id of the key that has the name: revoke it with "
    "`DELETE /api/system/keys/{id}`, or replace it with `POST …/{id}/rotate`; or choose another name.",
    "key-not-found": "`GET /api/system/keys` lists the keys with their ids. Where `revoked_at` says when, "
    "nothing is to be done.",
    "key-too-narrow": "Use a key for every model, or ask somebody who has one.",
    "key-used-differently": "Use a new idempotency key for a new request.",
    "malformed-json": "Have a JSON library write the body: names and texts in double quotes, no comma "
    "after the last member, no comments, `null` for what is missing.",
    "method-not-allowed": "Look up at `/docs` which methods the address takes; the header `Allow` may name "
    "some of them only.",
    "misshapen-payload": "Give what `field` names the shape that `problem` wants; `/docs` has an example "
    "of each form.",
    "model-not-found": "`GET /api/models` lists the models that the key sees; names are told apart by case.",
    "model-not-named": "Name one of those in the message as `?model=`, or use a key for that model alone.",
    "model-not-ready": "Wait as long as `Retry-After` says; if it stays like this, `reason` and `/readyz` say why.",
    "model-unknown-column": "`columns` names what is not there; `GET /api/models/{model}` shows the signature with the columns that are.",
    "name-too-close": "Use the name of the existing model, or one that differs in more than case and spelling.",
    "no-credentials": "Send an API key as `Authorization: Bearer <key>`; `switchyard keys create` makes one.",
    "no-default-rule": "`defaults` names those that can be reset. Change this one with `PATCH`, or delete it.",
    "no-good-row": "`first` tells what is wrong with the first row; `GET /api/models/{model}` shows the signature that rows must "
    "have.",
    "no-model-serves": "Promote a version with `POST /api/models/{model}/promote`, use a key that sees the "
    "model, or name a version as `?model=name:3`.",
    "no-production-version": "Promote one of the `candidates`, or name a version in the request.",
    "no-reference-yet": "Register the next version with a `reference` sample, a few thousand rows of its training data; or let the "
    "model answer until `rows_wanted` rows are in the log, and ask again: the first rows then become the "
    "reference.",
    "no-role-in-token": "Have the identity provider grant one of the four in the claim that `claim` names, "
    "and fetch a new token; or have the operator name the claim that holds them with "
    "`SWITCHYARD_OIDC_ROLE_CLAIM`.",
    "no-route": "Promote a version, or set a route for this environment.",
    "no-such-file": "`files` names the paths that there are; name one as `path`.",
    "no-such-series": "`known` names what can be followed. Any other series can be sent by yourself, to a monitor of the kind "
    "`posted`.",
    "not-convertible": "Register it with `serve_as` left out, which serves it as it is where that is "
    "better, or with `native`. Where `problem` finds too few rows, send a larger `reference`.",
    "not-found": "Compare the address, part by part, with those at `/docs`.",
    "not-http": "Speak HTTP/1.1 in plain text to this port: TLS ends at a proxy before it. Send one "
    "`Content-Length` that is right, or `Transfer-Encoding: chunked`, and no `Upgrade`.",
    "not-of-a-version": "Send `fields` to the address of the model, without a version.",
    "not-of-this-model": "Roll back without `to`, or promote the version instead.",
    "not-prepared": "`replicas` says which are not ready and why. They go on loading: send the request again in a moment.",
    "nothing-scored": "Correct the rows as `errors` says; `GET /api/models/{model}` shows the signature "
    "that they must have.",
    "nothing-to-roll-back-to": "Promote another version instead; this model has no earlier one to return to.",
    "out-of-model-memory": "Withdraw a version that is no longer needed, or give more with `SWITCHYARD_MODEL_MEMORY_BYTES`; "
    "`needed_bytes` says how much.",
    "outputs-changed": "Run the service with the libraries in the version's `requirements` (`GET "
    "/api/models/{model}:{version}` shows them); or save the model with those of the service, and register "
    "that.",
    "prediction-not-found": "Take `prediction_id` from the answer to the very call, and ask for the model that answered. Of a moment ago: "
    "ask again in a second or two.",
    "probe-out-of-memory": "Make the model smaller (fewer trees, 32 bits instead of 64), or ask the operator for "
    "a higher `SWITCHYARD_PROBE_MEMORY_BYTES`.",
    "probe-timed-out": "Make the model smaller, or save it in a format that loads faster (skops, ONNX, native "
    "XGBoost or LightGBM); or ask the operator for a higher `SWITCHYARD_PROBE_SECONDS`.",
    "problem-unknown": "`/problems` lists those that there are.",
    "queue-full": "Wait as long as `Retry-After` says and send the call again, with pauses that grow. Where it "
    "stays so, the model needs more replicas; `limit` is `SWITCHYARD_PREDICT_QUEUE_ROWS`.",
    "reader-lost": "Send the rows again in several smaller calls; that does no harm. Where it goes on, the "
    "operator looks for processes that the system ends for want of memory.",
    "regime-monitor-exists": "Send values to the monitor that is there, choose another name, or delete it first, with all that it has "
    "seen.",
    "regime-monitor-not-found": "`GET /api/models/{model}/regimes` lists the model's monitors; `POST` there makes one.",
    "repository-control": "Have a version answer with `POST /api/models/{model}/promote`, and the one "
    "before with `POST /api/models/{model}/rollback`; both load what they need.",
    "request-too-slow": "Send the request again, over a slow line in smaller pieces. For whole bodies, the "
    "operator can give more time with `SWITCHYARD_REQUEST_SECONDS`.",
    "role-too-low": "Use a key of the role that `needed` names, or a higher one, or ask somebody who has it.",
    "route-moved": "Read the route again: its `ETag` is the revision to send as `If-Match`.",
    "route-raced": "Read the route again, see whether the change is still wanted, and repeat it.",
    "rows-not-scored": "Send the same rows to `POST /api/models/{model}/predict`: it says of each why it "
    "failed, and answers the others.",
    "semantic-version-taken": "Leave `semantic_version` out to have the next one chosen, or choose an unused one.",
    "series-not-posted": "Send the values to a monitor of the kind `posted`; `POST /api/models/{model}/regimes` makes one.",
    "signature-mismatch": "Bring back the key that signed it, to all replicas: `SWITCHYARD_SIGNING_KEY_FILE`, or "
    "`keys/artifact-signing.pem` under `MLOPS_BASE_PATH` where that is not set. If it is lost, register the same files with a "
    "`reference` or a `signature`: only then are they signed anew.",
    "signs-nothing": "Make a new channel with a new address or key where that has leaked, and delete this one.",
    "silence-not-found": "`GET /api/system/silences` lists those that still hold, with `in_force=false` the earlier ones too.",
    "spool-full": "Bring the database back, or make it faster: the spool empties by itself. More room is given by "
    "`SWITCHYARD_SPOOL_BYTES`.",
    "spool-unwritable": "The operator sees to the disk of the spool (room, rights, a mount that went read-only); then send the "
    "request again.",
    "still-needed": "`needed_by` says who needs the version: move the alias, end the experiment, or promote another.",
    "storage-full": "The operator makes room where the store and `MLOPS_BASE_PATH` lie; "
    '`POST /api/system/cleanup` with `{"dry_run": false}` lets go what nobody needs. Then send the request again.',
    "storage-unavailable": "Send the request again in a moment. If it stays so, the operator sees to "
    "`MODEL_STORAGE_BUCKET` and the credentials in `SWITCHYARD_ARTIFACT_OPTIONS`, or to the rights on the "
    "directory.",
    "target-refused": "Use a public address. If the receiver is meant to be inside, the operator allows its network: "
    "`SWITCHYARD_ALLOWED_TARGETS=10.20.0.0/16`.",
    "text-unstorable": "Take `%00` out of the address.",
    "too-many-outcomes": "Send the items in several calls of `limit` at most. Sending one twice does no harm.",
    "too-many-rows": "Send the rows in several calls of `limit` at most; the operator sets it with "
    "`SWITCHYARD_MAX_ROWS`.",
    "too-many-secrets": 'Wait until an earlier one has ended, or rotate with `"grace_hours": 0`, which ends all of them at once.',
    "unavailable": "Send the request again in a moment. If it stays so, the operator looks for processes "
    "that the system ends for want of memory.",
    "unknown-arm": "Name one of `arms`, or leave `arm` out and have the route choose.",
    "unknown-format": "Save the model as skops, ONNX, or in the native format of XGBoost or LightGBM.",
    "unknown-media-type": "Send `Content-Type: application/json` or `text/csv`, whichever the body is.",
    "unknown-output": "Ask for one of those that the message names, or leave `outputs` out to have all.",
    "unknown-payload": "Send exactly one of `instances`, `dataframe_records`, `dataframe_split` and `inputs`; `found` says which "
    "there were.",
    "unreadable-csv": "Write the CSV with a library, in UTF-8, with a comma between cells and double "
    "quotes around those that hold one.",
    "unsafe-archive": "Pack the directory anew as `problem` wants it (`tar -czhf` follows links), or send "
    "its files one by one, each as an `artifact` part.",
    "unsafe-artifact": "Save the model anew as `remedy` shows; where it is empty, as `problem` asks, in skops or "
    "ONNX.",
    "unsafe-file-name": "Rename the file, in the form or in the archive that brought it; letters, digits, "
    "`-`, `_` and `/` between directories can always be used.",
    "unusable-key": "Send a new UUID as `Idempotency-Key` with each change, and the same one where that "
    "change is sent again; or leave the header out.",
    "upload-digest-mismatch": "Compare `found_sha256` with `sha256sum` of the file that you have: if they "
    "are the same, correct `sha256` in the metadata; if not, send the file again.",
    "upload-length-mismatch": "Send the registration again once nobody writes to `name` any more.",
    "upload-too-large": "Leave out what the model does not need to answer, send a sample of rows as "
    "`reference`, or ask the operator for a higher `SWITCHYARD_MAX_UPLOAD_BYTES`.",
    "version-needed": "Name one of the `candidates` instead of the model alone.",
    "version-not-found": "`existing` names the latest versions; `GET /api/models/{model}/versions` lists all of them.",
}
