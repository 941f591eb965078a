"""qadapter from Python: libqadapter.so, which lies beside this file, through its public C interface.

    import qadapter

    model = qadapter.Model("weights/village/model")
    adapter = model.load_adapter("build/demo/adapter")
    print(model.generate([{"role": "user", "content": "Tell me about figs."}], adapter, seed=5).text)
    base, custom = model.log_policy("Figs are", adapter)        # log-probabilities of the whole vocabulary, nats
    for pair in model.score("pairs.jsonl", adapter): print(pair["chosen"]["log_pi"])
    adapter = model.train("pairs.jsonl", "out", recipe="theory", max_steps=20, on_metrics=print)

Needs nothing but Python 3.8. Vectors are array.array("d"), which numpy.asarray takes without a copy. A prompt is a text,
a list of token ids, or a list of messages ({"role", "content"}), which go through the model's chat template. Options
are keyword arguments by the names that they have on the command line, with underscores. Whatever fails is an Error with
the library's message; what it warns of is a Warning of this module. Objects are freed with their last reference, or by
close() and `with`. One model is used by one thread at a time: others wait. A process made by fork must load its own.
"""

import array
import collections
import contextlib
import ctypes
import json
import operator
import os
import signal
import sys
import tempfile
import threading
import types
import warnings
import weakref

__all__ = ["Adapter", "Answer", "Error", "Interrupted", "Model", "Tokenizer", "Warning", "precision", "version"]


class Error(Exception):
    """What the library refused, in its words; code is "format", "io", "mismatch", "argument", "limit", ..."""

    def __init__(self, message, code="argument"):
        super().__init__(message)
        self.code = code


class Interrupted(Error):
    """Training was stopped by on_metrics; a checkpoint is there, and resume=True goes on from it."""


class Warning(UserWarning):
    """What the library found and is no error."""


# ---- the interface, as the library that was loaded says it is ----------------------------------------------------------

class _Row(ctypes.Structure):
    """Of the table that tools/python/interface made of the headers."""
    _fields_ = [("what", ctypes.c_char_p), ("name", ctypes.c_char_p), ("type", ctypes.c_char_p),
                ("at", ctypes.c_size_t), ("bytes", ctypes.c_size_t)]


_SCALARS = {"bool": ctypes.c_bool, "char": ctypes.c_char, "int": ctypes.c_int, "int32_t": ctypes.c_int32,
            "double": ctypes.c_double, "size_t": ctypes.c_size_t, "uint64_t": ctypes.c_uint64, "void": None,
            "function": ctypes.c_void_p, "qa_log_fn": ctypes.c_void_p, "const char*": ctypes.c_char_p}


class _Interface:
    """Structs, constants and functions, with the compiler's own offsets and sizes."""

    def __init__(self, path):
        self._library = ctypes.CDLL(path)
        self._structs, self._made, self._enums, self._declared = {}, {}, set(), {}
        rows, i = ctypes.cast(self._library.qa_python_interface, ctypes.POINTER(_Row)), 0
        while rows[i].what is not None:
            self._take(rows[i])
            i += 1

    def _take(self, row):
        what, name, kind = row.what.decode(), row.name.decode(), row.type.decode()
        if what == "struct":
            self._fields = self._structs[name] = []
            self._structs[name].append(row.at)
        elif what == "field":
            self._fields.append((name, kind, row.at, row.bytes))
        elif what == "enum":
            self._enums.add(name)
            if row.at != ctypes.sizeof(ctypes.c_uint):
                raise ImportError(f"libqadapter: {name} has {row.at} bytes")
        elif what == "constant":
            setattr(self, name, row.at)
        else:
            self._declared[name] = kind

    def type_of(self, kind, size=None):
        """The ctypes type of a C type."""
        if kind.endswith("]"):
            item = self.type_of(kind[:kind.index("[")])
            return item * (size // ctypes.sizeof(item))
        if kind in _SCALARS:
            return _SCALARS[kind]
        if kind.endswith("*"):
            return ctypes.c_void_p
        return ctypes.c_uint if kind in self._enums else self.struct(kind)

    def struct(self, name):
        """A class for the struct; a layout that ctypes would make otherwise than the compiler is refused."""
        if name not in self._made:
            size, *fields = self._structs[name]
            made = type(name, (ctypes.Structure,), {
                "_fields_": [(field, self.type_of(kind, size_of)) for field, kind, _, size_of in fields]})
            for field, _, at, size_of in fields:
                found = getattr(made, field)
                if (found.offset, found.size) != (at, size_of):
                    raise ImportError(f"libqadapter: {name}.{field} is at {at}, {size_of} bytes; ctypes has it at "
                                      f"{found.offset}, {found.size} bytes")
            if ctypes.sizeof(made) != size:
                raise ImportError(f"libqadapter: {name} has {size} bytes; ctypes makes {ctypes.sizeof(made)} of it")
            self._made[name] = made
        return self._made[name]

    def __getattr__(self, name):
        """A function. One that returns a status raises it as an Error and takes no qa_error."""
        declared = self.__dict__.get("_declared", {}).get(name)
        if declared is None:
            raise AttributeError(name)
        result, parameters = declared[:-1].split("(")
        parameters = [p for p in parameters.split(";") if p]
        function = getattr(self._library, name)
        function.argtypes = [self.type_of(p) for p in parameters]
        function.restype = self.type_of(result)
        call = self._checked if result == "qa_status" and parameters[-1] == "qa_error*" else self._plain
        setattr(self, name, call(function))
        return getattr(self, name)

    @staticmethod
    def _plain(function):
        def call(*arguments):
            return function(*(a._live if isinstance(a, _Handle) else a for a in arguments))
        return call

    def _checked(self, function):
        def call(*arguments):
            error = self.struct("qa_error")()
            status = self._plain(function)(*arguments, ctypes.byref(error))
            if status != self.QA_OK:
                kind = Interrupted if status == self.QA_ERR_INTERRUPTED else Error
                raise kind(error.message.decode("utf-8", "replace"), self.qa_status_name(status).decode())
        return call


_qa = _Interface(os.path.join(os.path.dirname(os.path.abspath(__file__)), "libqadapter.so"))

_log_function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint, ctypes.c_char_p)
_metrics_function = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_void_p)
_stop_function = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p)


def version():
    """The library's version."""
    return _qa.qa_version().decode()


def precision():
    """What the library computes in: "f32" or "f64"."""
    return _qa.qa_precision().decode()


# ---- values ------------------------------------------------------------------------------------------------------------

def _bytes(text, what):
    if not isinstance(text, str):
        raise TypeError(f"{what}: expected a text, found {type(text).__name__}")
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Error(f"{what}: {error}", "format") from None


def _zero_terminated(text, what):
    data = _bytes(text, what)
    if b"\0" in data:
        raise Error(f"{what}: has a zero byte", "format")
    return data


def _path(path, what):
    data = os.fsencode(path)
    if b"\0" in data or not data:
        raise Error(f"{what}: expected a path, found {path!r}")
    return data


def _size(value, what, least=0):
    value = operator.index(value)
    if not least <= value < 2**63:
        raise Error(f"{what}: expected a whole number of at least {least}, found {value}")
    return value


def _id_array(ids, what="ids"):
    values = [operator.index(i) for i in ids]
    for value in values:
        if not 0 <= value < 2**31:
            raise Error(f"{what}: {value} is no token id")
    return (ctypes.c_int32 * len(values))(*values)


def _is_ids(value):
    return not isinstance(value, (str, bytes)) and len(value) > 0 and hasattr(value[0], "__index__")


def _doubles(pointer, n):
    """A copy of n doubles."""
    return array.array("d", ctypes.string_at(pointer, n * 8) if n else b"")


def _rows(pointer, rows, columns):
    return [_doubles(pointer + r * columns * 8, columns) for r in range(rows)]


def _option_text(name, value):
    """A value as the command line would have it."""
    if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):
        return b"true" if value else b"false"
    if isinstance(value, (list, tuple)):
        value = ",".join(map(str, value))
    elif isinstance(value, os.PathLike):
        return _path(value, name)
    elif hasattr(value, "__index__"):
        value = str(operator.index(value))
    elif hasattr(value, "__float__"):
        value = repr(float(value))
    return _zero_terminated(value, name)


def _warn(warnings_pointer):
    if warnings_pointer:
        found = _qa.struct("qa_warnings").from_address(warnings_pointer)
        lines = ctypes.cast(found.lines, ctypes.POINTER(ctypes.c_char_p))
        for i in range(found.n):
            warnings.warn(lines[i].decode("utf-8", "replace"), Warning, stacklevel=4)


@contextlib.contextmanager
def _buffer(kind):
    """A qa_ids or qa_text that is freed."""
    made = _qa.struct(kind)()
    try:
        yield made
    finally:
        free = {"qa_ids": _qa.qa_ids_free, "qa_text": _qa.qa_text_free}[kind]
        free(ctypes.byref(made))


def _text_of(text):
    return ctypes.string_at(text.data, text.n).decode("utf-8", "replace") if text.n else ""


def _ids_of(ids):
    return list((ctypes.c_int32 * ids.n).from_address(ids.data)) if ids.n else []


def _messages(messages):
    """A qa_message array, and what it points to."""
    array_type = _qa.struct("qa_message") * len(messages)
    made, keep = array_type(), []
    for into, message in zip(made, messages):
        if not isinstance(message, dict) or set(message) != {"role", "content"}:
            raise TypeError('a message is {"role": TEXT, "content": TEXT}, found ' + repr(message)[:80])
        content = _bytes(message["content"], "content")
        into.role, into.content = _zero_terminated(message["role"], "role"), content
        into.content_bytes = len(content)
        keep.append((into.role, content))
    return made, keep


# ---- objects of the library --------------------------------------------------------------------------------------------

class _Handle:
    """A C object: freed once, never used afterwards, nor in a process that was forked, nor closed while it is used."""

    def __init__(self, pointer, free, owner=None):
        self._pointer, self._owner, self._process = pointer, owner, os.getpid()
        self._busy = 0
        self._children = weakref.WeakSet()
        self._free = weakref.finalize(self, _Handle._release, free, pointer, os.getpid())
        if owner is not None:
            owner._children.add(self)

    @staticmethod
    def _release(free, pointer, process):
        if os.getpid() == process:
            free(pointer)

    @property
    def _live(self):
        if not self._free.alive:
            raise Error(f"this {type(self).__name__} is closed")
        if os.getpid() != self._process:
            raise Error(f"this {type(self).__name__} was made before the process forked: load it again")
        return self._pointer

    @property
    def closed(self):
        """Whether close() was called."""
        return not self._free.alive

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._free()


class _Closable(_Handle):
    """One that its user may close at any time."""

    def close(self):
        """Frees the object and what belongs to it; nothing when that was done."""
        with getattr(self, "_lock", None) or getattr(self._owner, "_lock", None) or contextlib.nullcontext():
            if self._busy > 0 or (self._owner is not None and self._owner._busy > 0):
                raise Error(f"this {type(self).__name__} is in use: it cannot be closed in a callback")
            for child in list(self._children):
                child._free()
            self._free()

    def __exit__(self, *_):
        self.close()


def _load(owner, free, function, *arguments):
    """A new object: function(&pointer, ...)."""
    pointer = ctypes.c_void_p()
    function(ctypes.byref(pointer), *arguments)
    return _Handle(pointer.value, free, owner)


class Tokenizer(_Closable):
    """The tokenizer of a model's folder."""

    def __init__(self, folder):
        pointer = ctypes.c_void_p()
        _qa.qa_tokenizer_load(ctypes.byref(pointer), _path(folder, "folder"))
        super().__init__(pointer.value, _qa.qa_tokenizer_free)
        _warn(_qa.qa_tokenizer_warnings(self))

    def encode(self, text, add_special=False):
        """The token ids of a text."""
        data = _bytes(text, "text")
        options = _qa.struct("qa_encode_options")(add_special=bool(add_special))
        with _buffer("qa_ids") as ids:
            _qa.qa_tokenizer_encode(self, data, len(data), options, ctypes.byref(ids))
            return _ids_of(ids)

    def decode(self, ids, skip_special=False):
        """The text of token ids."""
        values = _id_array(ids)
        with _buffer("qa_text") as text:
            _qa.qa_tokenizer_decode(self, values, len(values), bool(skip_special), ctypes.byref(text))
            return _text_of(text)

    def token(self, token_id):
        """A token as it stands in the vocabulary; None: there is none."""
        found = _qa.qa_tokenizer_token(self, _id_array([token_id])[0])
        return None if found is None else found.decode("utf-8", "replace")

    @property
    def vocab_size(self):
        """One more than the largest id."""
        return _qa.qa_tokenizer_vocab_size(self)

    def __repr__(self):
        return "<closed Tokenizer>" if self.closed else f"<Tokenizer: {_qa.qa_tokenizer_description(self).decode()}>"


_OBJECTIVE = ("alpha_tilde", "alpha_0", "gamma", "beta", "objective", "q_parametrisation", "length_normalisation",
              "dpo_beta", "ipo_tau", "ipo_length", "sppo_beta", "label_noise", "kto_beta", "desirable_weight",
              "undesirable_weight", "kto_reference_point")


def _set_options(options, lora, given):
    """Keyword arguments into a qa_train_options and a qa_lora_options; returns what must be kept alive."""
    first = ("recipe", "method", "lora_r", "lora_rank", "rank", "r")
    keep = []
    for name in sorted(given, key=lambda n: first.index(n) if n in first else len(first)):
        keep.append(_option_text(name, given[name]))
        _qa.qa_train_set(ctypes.byref(options), None if lora is None else ctypes.byref(lora),
                         _zero_terminated(name, "option"), keep[-1])
    return keep


class Adapter(_Closable):
    """A LoRA adapter of a model, or a whole model in its place (full=True), with the objective that makes a policy of
    it. Model.load_adapter, new_adapter and train make them."""

    def __init__(self, model, pointer, objective, folder=None):
        super().__init__(pointer, _qa.qa_adapter_free, model)
        self.model, self.folder, self._objective = model, folder, objective

    @property
    def objective(self):
        """Method, parametrisation and numbers, by their names."""
        o = self._objective
        return {"method": _qa.qa_method_name(o.method).decode(), "objective": _qa.qa_objective_kind_name(o.kind).decode(),
                "q_parametrisation": _qa.qa_q_parametrisation_name(o.q_parametrisation).decode(),
                "alpha_tilde": o.alpha_tilde, "alpha_0": o.alpha_0, "gamma": o.gamma, "beta": o.beta,
                "length_normalisation": o.length_normalisation, "dpo_beta": o.dpo_beta, "ipo_tau": o.ipo_tau,
                "ipo_length": "mean" if o.ipo_length else "sum", "sppo_beta": o.sppo_beta, "label_noise": o.label_noise,
                "kto_beta": o.kto_beta, "desirable_weight": o.desirable_weight, "undesirable_weight": o.undesirable_weight,
                "kto_reference_point": ("next", "previous", "none")[o.reference_point]}

    @property
    def is_plain(self):
        """Whether its policy is softmax(logits of the adapted model), so that any program that loads it has it."""
        return _qa.qa_objective_is_plain(ctypes.byref(self._objective))

    @property
    def parameters(self):
        """How many numbers are trained."""
        return _qa.qa_adapter_parameters(self)

    @property
    def rank(self):
        """The rank of its branches."""
        return _qa.struct("qa_lora_options").from_address(_qa.qa_adapter_options(self)).rank

    def set(self, **options):
        """Turns the dials of inference: alpha_0, alpha_tilde, ..."""
        self._objective = _objective_with(self._objective, options)

    def save(self, folder, base_model=None):
        """Writes a PEFT folder, which may exist; without the record of a training."""
        os.makedirs(folder, exist_ok=True)
        with self.model._using(self):
            _qa.qa_adapter_save(self, _path(folder, "folder"), _path(base_model or self.model.folder, "base_model"))

    def __repr__(self):
        what = "closed Adapter" if self.closed else f"Adapter of {f'rank {self.rank}' if self.rank else 'all weights'}"
        return f"<{what}>" if self.closed else f"<{what}: {self.objective}>"


def _objective_with(objective, given):
    """A copy with other numbers; unknown names and contradictions are refused."""
    unknown = set(given) - set(_OBJECTIVE) - {"recipe", "method"}
    if unknown:
        raise TypeError(f"{sorted(unknown)[0]} is no option of an objective: {', '.join(_OBJECTIVE)}, recipe, method")
    options = _qa.qa_train_defaults()
    if objective is not None:
        options.objective = objective
    _set_options(options, None, given)
    made = type(options.objective).from_buffer_copy(options.objective)
    _qa.qa_objective_check(ctypes.byref(made))
    return made


Answer = collections.namedtuple("Answer", ["text", "ids", "end"])
Answer.__doc__ = 'text, ids (the end token included) and what ended it: "token", "stop", "length" or "context".'


class Model(_Closable):
    """A frozen model from a Hugging Face folder. threads 0: all cores. dtype: "f32" the library's precision, "auto"
    what the files have in BF16 stays so, "bf16" all of it. log gets every line that the library tells."""

    def __init__(self, folder, threads=0, dtype="f32", log=None):
        kinds = {"f32": _qa.QA_WEIGHTS_REAL, "auto": _qa.QA_WEIGHTS_STORED, "bf16": _qa.QA_WEIGHTS_BF16}
        if dtype not in kinds:
            raise Error(f"dtype: expected one of {', '.join(kinds)}, found {dtype!r}")
        if log is not None and not callable(log):
            raise TypeError("log: expected a function")
        name = _path(folder, "folder")
        write = _log_function(_Log(log))
        logger = _qa.struct("qa_logger")(write=ctypes.cast(write, ctypes.c_void_p))
        context, pointer = ctypes.c_void_p(), ctypes.c_void_p()
        _qa.qa_context_create(ctypes.byref(context), _size(threads, "threads"), logger)
        try:
            _qa.qa_model_load_as(ctypes.byref(pointer), context, name, kinds[dtype])
        except BaseException:
            _qa.qa_context_free(context)
            raise

        def free(model):
            _qa.qa_model_free(model)
            _qa.qa_context_free(context)
            del write_kept[:]  # the library may call it until here

        write_kept = [write]
        super().__init__(pointer.value, free)
        self.folder, self._lock, self._chats = os.fspath(folder), threading.RLock(), {}
        self._training = False
        self.tokenizer = None
        if os.path.exists(os.path.join(self.folder, "tokenizer.json")):
            self.tokenizer = Tokenizer(self.folder)
            _qa.qa_model_prefer_eos(self, _qa.qa_tokenizer_eos(self.tokenizer))

    def close(self):
        """Frees the model, its adapters and its tokenizer; nothing when that was done."""
        super().close()
        self._chats.clear()
        if self.tokenizer is not None:
            self.tokenizer.close()

    @contextlib.contextmanager
    def _using(self, adapter=None):
        """The model, and an adapter of it, for the time of a call."""
        with self._lock:
            self._live
            if self.tokenizer is not None:
                self.tokenizer._live
            if adapter is not None:
                if not isinstance(adapter, Adapter):
                    raise TypeError(f"adapter: expected an Adapter, found {type(adapter).__name__}")
                if adapter.model is not self:
                    raise Error("the adapter belongs to another Model", "mismatch")
                adapter._live
            self._busy += 1
            try:
                yield
            finally:
                self._busy -= 1

    @property
    def _information(self):
        return _qa.struct("qa_model_info").from_address(_qa.qa_model_get_info(self))

    @property
    def info(self):
        """Numbers of the model, by the names of qa_model_info."""
        found = self._information
        info = {name: getattr(found, name) for name, _ in found._fields_ if name != "eos_ids"}
        info = {name: value.decode() if isinstance(value, bytes) else value for name, value in info.items()}
        info["eos_ids"] = list((ctypes.c_int32 * found.n_eos).from_address(found.eos_ids)) if found.n_eos else []
        return info

    @property
    def fingerprint(self):
        """Which model it is, whatever its folder is called."""
        with self._using():
            return _qa.qa_model_fingerprint(self).decode()

    def __repr__(self):
        return "<closed Model>" if self.closed else f"<Model {self.folder}: {self.info['architecture']}>"

    # ---- adapters ----

    def load_adapter(self, folder, any_base=False, **objective):
        """An adapter from a PEFT folder, or from that of a run with full=True. Its objective is the recorded one; without a record the policy is that of the
        adapted model. recipe, method, alpha_0, alpha_tilde, ... say otherwise."""
        path = _path(folder, "folder")
        pointer = ctypes.c_void_p()
        with self._using():
            resolved = self._resolve_objective(path, objective)
            _qa.qa_adapter_load(ctypes.byref(pointer), self, path)
            adapter = Adapter(self, pointer.value, resolved, os.fspath(folder))
            self._check_base(path, any_base)
        return adapter

    def _resolve_objective(self, path, given):
        found, record = ctypes.c_bool(False), _qa.struct("qa_objective")()
        if "recipe" in given:
            return _objective_with(None, given)
        _qa.qa_training_config_load(path, ctypes.byref(found), ctypes.byref(record))
        named = given.get("method")
        if found.value and named in (None, _qa.qa_method_name(record.method).decode()):
            return _objective_with(record, given)
        whole = {"q_parametrisation", "alpha_0", "alpha_tilde"} <= set(given)
        return _objective_with(None, given if named or whole else {"method": "sft", **given})

    def _check_base(self, path, any_base):
        record = _qa.struct("qa_base_record")()
        _qa.qa_training_config_base(path, ctypes.byref(record))
        now = ctypes.create_string_buffer(_qa.struct("qa_base_record").tokenizer.size)
        _qa.qa_tokenizer_files_hex(ctypes.cast(now, ctypes.c_void_p), os.fsencode(self.folder))
        if any_base:
            return
        if record.fingerprint and record.fingerprint != _qa.qa_model_fingerprint(self):
            raise Error(f"{os.fsdecode(path)} was trained on {record.name.decode('utf-8', 'replace')}, and {self.folder} "
                        "is another model: give the adapter's own, or go on all the same with any_base=True", "mismatch")
        if record.tokenizer and now.value and record.tokenizer != now.value:
            warnings.warn(f"the tokenizer's files in {self.folder} are not those that {os.fsdecode(path)} was trained "
                          "with: the same text may be other tokens", Warning, stacklevel=3)

    def new_adapter(self, seed=0, full=False, **options):
        """A fresh adapter: A random, B zero. Options: lora_r, lora_alpha, lora_target, recipe, ... full: a copy of all
        of the model's weights instead."""
        train, lora = _qa.qa_train_defaults(), _qa.qa_lora_defaults()
        keep = _set_options(train, lora, options)
        return self._make_adapter(train, lora, seed, keep, full)

    def _make_adapter(self, train, lora, seed, keep, full=False):
        pointer = ctypes.c_void_p()
        with self._using():
            _qa.qa_objective_check(ctypes.byref(train.objective))
            if full:
                _qa.qa_adapter_create_full(ctypes.byref(pointer), self)
            else:
                _qa.qa_adapter_create(ctypes.byref(pointer), self, ctypes.byref(lora), _size(seed, "seed"))
            del keep
            return Adapter(self, pointer.value, type(train.objective).from_buffer_copy(train.objective))

    # ---- chat ----

    def _chat(self, adapter, chat_template=None, template_args=None, date=None):
        """The template: the one that is named, that of the adapter's training, the folder's own, or plain."""
        record = {}
        path = None if adapter is None or adapter.folder is None else os.path.join(adapter.folder, "training_config.json")
        if chat_template is None and path is not None and os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                record = json.load(file)
        template = chat_template or record.get("chat_template")
        text = record.get("chat_template_text")
        variables = {**(record.get("template_args") or {}), **(template_args or {})}
        date = date or record.get("template_date")
        key = (template, text, json.dumps(variables, sort_keys=True), date)
        if key not in self._chats:
            if template is None:
                which = ctypes.c_uint(_qa.QA_CHAT_NONE)
                _qa.qa_chat_template_detect(ctypes.byref(which), os.fsencode(self.folder))
                template = "plain" if which.value == _qa.QA_CHAT_NONE else None
            self._chats[key] = self._open_chat(template, text, variables, date)
        return self._chats[key]

    def _open_chat(self, template, text, variables, date):
        options = _qa.struct("qa_chat_options")(dir=os.fsencode(self.folder))
        if text is not None:
            options.text = _zero_terminated(text, "chat_template_text")
        elif template is not None:
            options.name = _zero_terminated(template, "chat_template")
        if date is not None:
            options.date = _zero_terminated(date, "date")
        lines = [_zero_terminated(f"{name}={json.dumps(value)}", "template_args") for name, value in variables.items()]
        arguments = (ctypes.c_char_p * len(lines))(*lines)
        options.args, options.n_args = ctypes.cast(arguments, ctypes.c_void_p), len(lines)
        chat = _load(None, _qa.qa_chat_free, _qa.qa_chat_open, ctypes.byref(options), self.tokenizer)
        _warn(_qa.qa_chat_warnings(chat))
        return chat

    def _encode(self, prompt, chat):
        """(ids, whether it is a dialogue)"""
        if not isinstance(prompt, str) and _is_ids(prompt):
            return list(_id_array(prompt, "prompt")), False
        if self.tokenizer is None:
            raise Error(f"{self.folder} has no tokenizer: give the prompt as token ids")
        with _buffer("qa_ids") as ids, _buffer("qa_text") as text:
            if isinstance(prompt, str):
                data = _bytes(prompt, "prompt")
                _qa.qa_encode_plain_text(self.tokenizer, data, len(data), ctypes.byref(ids))
            else:
                messages, _keep = _messages(prompt)
                _qa.qa_chat_encode(chat(), messages, len(messages), ctypes.byref(text), ctypes.byref(ids))
            if ids.n == 0:
                raise Error("the prompt has no tokens: give some text")
            return _ids_of(ids), not isinstance(prompt, str)

    def encode_prompt(self, prompt, adapter=None, **chat):
        """The token ids that generate would run of a prompt."""
        with self._using(adapter):
            return self._encode(prompt, lambda: self._chat(adapter, **chat))[0]

    # ---- policies ----

    def _generator(self, adapter, policy, sampling, capacity):
        objective = None if adapter is None else ctypes.byref(adapter._objective)
        return _load(self, _qa.qa_generator_free, _qa.qa_generator_create, self, adapter, policy, objective,
                     ctypes.byref(sampling), capacity)

    def log_policy(self, prompt, adapter=None, every=False, **chat):
        """(base, custom): the log-probabilities of the whole vocabulary behind a prompt, under the base model and
        under the customised policy, nats, at temperature 1. every: a list of them, behind each of the prompt's tokens."""
        with self._using(adapter):
            ids, _ = self._encode(prompt, lambda: self._chat(adapter, **chat))
            base = self._log_policies(ids, None, _qa.QA_POLICY_BASE, every)
            return base, base if adapter is None else self._log_policies(ids, adapter, _qa.QA_POLICY_CUSTOM, every)

    def _log_policies(self, ids, adapter, policy, every):
        rows, values = [], _id_array(ids)
        row = (ctypes.c_double * self._information.vocab_size)()
        with self._generator(adapter, policy, _qa.qa_sampling_defaults(), len(ids)) as generator:
            pieces = [(ctypes.c_int32 * 1)(i) for i in values] if every else [values]
            for piece in pieces:
                _qa.qa_generator_feed(generator, piece, len(piece))
                _qa.qa_generator_log_policy(generator, row)
                rows.append(array.array("d", row))
        return rows if every else rows[0]

    def generate(self, prompt, adapter=None, policy=None, max_tokens=256, stop=(), ignore_eos=False, on_text=None,
                 chat_template=None, template_args=None, date=None, **sampling):
        """An Answer to a prompt. policy: "custom" (the default with an adapter) or "base". on_text gets its pieces as
        they become certain. Sampling: temperature (0: greedy), top_k, top_p, min_p, repetition_penalty, seed."""
        policy = policy or ("base" if adapter is None else "custom")
        if policy not in ("base", "custom"):
            raise Error(f'policy: expected "base" or "custom", found {policy!r}')
        settings = _qa.qa_sampling_defaults()
        for name, value in sampling.items():
            if name not in dict(settings._fields_):
                raise TypeError(f"{name} is no option of sampling: {', '.join(n for n, _ in settings._fields_)}")
            whole = name in ("top_k", "seed")
            setattr(settings, name, _size(value, name) if whole else float(value))
        _qa.qa_sampling_check(ctypes.byref(settings))
        stop = [stop] if isinstance(stop, str) else list(stop)
        if not all(isinstance(text, str) and text for text in stop):
            raise Error("stop: expected texts that are not empty")
        with self._using(adapter):
            return self._answer(prompt, adapter, policy, _size(max_tokens, "max_tokens", 1), stop, ignore_eos, on_text,
                                settings, lambda: self._chat(adapter, chat_template, template_args, date))

    def _ends(self, chat):
        """The tokens, and the texts, that end an answer."""
        info = self._information
        with _buffer("qa_ids") as ids, _buffer("qa_text") as texts:
            _qa.qa_answer_ends(chat, self.tokenizer, info.eos_ids, info.n_eos, ctypes.byref(ids), ctypes.byref(texts))
            found = ctypes.string_at(texts.data, texts.n).split(b"\0")[:-1] if texts.n else []
            return set(_ids_of(ids)), [text.decode("utf-8") for text in found]

    def _answer(self, prompt, adapter, policy, max_tokens, stop, ignore_eos, on_text, settings, chat):
        ids, dialogue = self._encode(prompt, chat)
        ends, end_texts = (set(), []) if ignore_eos else self._ends(chat() if dialogue else None)
        capacity = min(len(ids) + max_tokens, self._information.context)
        kind = _qa.QA_POLICY_BASE if policy == "base" else _qa.QA_POLICY_CUSTOM
        sampled, end, next_id = [], "length", ctypes.c_int32()
        with self._generator(adapter, kind, settings, capacity) as generator, \
                _Stream(self.tokenizer, ids, stop + end_texts, on_text) as stream:
            values = _id_array(ids)
            _qa.qa_generator_feed(generator, values, len(values))
            while len(sampled) < max_tokens:
                if len(ids) + len(sampled) >= capacity:
                    end = "context"
                    break
                _qa.qa_generator_next(generator, ctypes.byref(next_id))
                sampled.append(next_id.value)
                if next_id.value in ends:
                    end = "token"
                    break
                if stream.push(next_id.value):
                    end = "stop"
                    break
            if stream.finish() and end != "token":
                end = "stop"
            return Answer(stream.text, sampled, end)

    # ---- pairs ----

    @contextlib.contextmanager
    def _pairs(self, data, adapter, chat, max_length=None, dsp_domain=None, strict=False, published_data_quirks=False,
               response_end=None, max_pairs=0, responses=False, labelled=False):
        """Preference pairs of a file, or of a list of objects; labelled: or single responses with labels."""
        info, record = self._information, _qa.struct("qa_data_record")()
        options = _qa.struct("qa_pairs_options")(
            chat=_qa.QA_CHAT_UNKNOWN, vocab_size=info.vocab_size, eos_ids=info.eos_ids, n_eos=info.n_eos,
            strict=bool(strict), published_data=bool(published_data_quirks), max_pairs=_size(max_pairs, "max_pairs"),
            responses=responses, either=labelled, labelled=labelled, max_length=self._max_length(max_length))
        if adapter is not None and adapter.folder is not None:
            _qa.qa_training_config_data(os.fsencode(adapter.folder), ctypes.byref(record))
        end = ctypes.c_uint(_qa.QA_RESPONSE_END_TEMPLATE if published_data_quirks else record.response_end)
        if response_end is not None:
            _qa.qa_response_end_by_name(ctypes.byref(end), _zero_terminated(response_end, "response_end"))
        options.response_end = end.value
        if dsp_domain is not None:
            options.dsp_domain = _zero_terminated(dsp_domain, "dsp_domain")
        kept = chat() if self.tokenizer is not None else None
        options.renderer = None if kept is None else kept._live
        with _file_of(data) as path:
            pairs = _load(self, _qa.qa_pairs_free, _qa.qa_pairs_load, path, self.tokenizer, ctypes.byref(options))
        with pairs:
            _warn(_qa.qa_pairs_warnings(pairs))
            self._warn_of_skipped(pairs)
            yield pairs

    def _max_length(self, given):
        context = self._information.context
        if given is None:
            return min(_MAX_LENGTH, context)
        if not 2 <= _size(given, "max_length") <= context:
            raise Error(f"max_length: expected 2 to {context}, the model's context, found {given}")
        return given

    @staticmethod
    def _warn_of_skipped(pairs):
        report = _qa.struct("qa_skip_report").from_address(_qa.qa_pairs_report(pairs))
        for reason, count in enumerate(report.count):
            if count:
                warnings.warn(f"skipped {count}: {_qa.qa_skip_reason_text(reason).decode()} (first: "
                              f"{'element' if report.elements else 'line'} {report.first_line[reason]})", Warning,
                              stacklevel=5)

    def score(self, data, adapter=None, micro_batch=None, full=False, objective=None, chat_template=None,
              template_args=None, date=None, **reading):
        """Every quantity of the method for every pair of a file or list, as `qadapter score` writes it: a list of
        {"chosen": {...}, "rejected": {...}, "logit", "loss", "pref", "reg", "line"}. full: Q and log pi1 of the whole
        vocabulary, too. Without an adapter the recipe theory's objective, or what `objective` (a dict) says. Options of
        reading: max_length, response_end, strict, max_pairs, dsp_domain, published_data_quirks."""
        with self._using(adapter):
            goal = _objective_with(None if adapter is None else adapter._objective, objective or {})
            with self._pairs(data, adapter, lambda: self._chat(adapter, chat_template, template_args, date),
                             **reading) as pairs:
                n = _qa.qa_pairs_count(pairs)
                batch = self._micro_batch(adapter, micro_batch) or n
                scorer = _load(self, _qa.qa_scorer_free, _qa.qa_scorer_create, self, adapter, ctypes.byref(goal),
                               _qa.qa_pairs_longest_prompt(pairs), _qa.qa_pairs_longest_response(pairs), bool(full))
                with scorer:
                    return [self._score(scorer, pairs, i, batch, n, full) for i in range(n)]

    @staticmethod
    def _micro_batch(adapter, given):
        size = ctypes.c_size_t(0 if given in (None, "all") else _size(given, "micro_batch", 1))
        if given is None and adapter is not None and adapter.folder is not None:
            _qa.qa_training_config_micro_batch(os.fsencode(adapter.folder), ctypes.byref(size))
        return size.value

    def _score(self, scorer, pairs, i, batch, n, full):
        pair = _qa.struct("qa_pair").from_address(_qa.qa_pairs_at(pairs, i))
        first = i - i % batch
        score = _qa.struct("qa_pair_score")()
        _qa.qa_scorer_score(scorer, ctypes.byref(pair), _qa.qa_padded_length(pairs, first, min(batch, n - first)),
                            ctypes.byref(score))
        made = {"chosen": self._side(pair, "chosen", score.chosen, full),
                "rejected": self._side(pair, "rejected", score.rejected, full)}
        made.update({name: getattr(score, name) for name in ("logit", "loss", "pref", "reg")}, line=pair.line)
        return made

    def _side(self, pair, name, score, full):
        length, pointer = getattr(pair, name + "_len"), getattr(pair, name)
        ids = [*(ctypes.c_int32 * pair.prompt_len).from_address(pair.prompt),
               *((ctypes.c_int32 * length).from_address(pointer) if length else [])]
        side = {"input_ids": ids, "prompt_len": pair.prompt_len, "terminal": getattr(pair, name + "_terminal")}
        side.update({key: _doubles(getattr(score, key), score.n)
                     for key in ("log_pi1", "q", "v", "reward", "log_pi", "kl")})
        side["return"] = score.ret
        if full:
            columns = self._information.vocab_size
            side["full"] = {"q": _rows(score.full_q, score.states, columns),
                            "log_pi1": _rows(score.full_log_pi1, score.states, columns),
                            "v": _doubles(score.full_v, score.states)}
        return side

    def evaluate(self, data, adapter=None, micro_batch=None, objective=None, chat_template=None, template_args=None,
                 date=None, **reading):
        """What `qadapter eval` measures on pairs, or single responses with labels, by the names of qa_evaluation. Options as of score."""
        with self._using(adapter):
            goal = _objective_with(None if adapter is None else adapter._objective, objective or {})
            found = _qa.struct("qa_evaluation")()
            with self._pairs(data, adapter, lambda: self._chat(adapter, chat_template, template_args, date),
                             labelled=True, **reading) as pairs:
                _qa.qa_evaluate(self, adapter, pairs, ctypes.byref(goal), self._micro_batch(adapter, micro_batch), None,
                                None, ctypes.byref(found))
        values = {name: getattr(found, name) for name, _ in found._fields_}
        return {name: list(v) if isinstance(v, ctypes.Array) else v for name, v in values.items()}

    # ---- training ----

    def train(self, data, out, eval_data=None, replay_data=None, adapter=None, on_metrics=None, chat_template=None,
              template_args=None, date=None, batch_size=None, max_length=None, dsp_domain=None, strict=False,
              published_data_quirks=False, response_end=None, max_pairs=0, full=False, **options):
        """Trains a fresh adapter, or the one that is given in place, on pairs (a file, or a list of objects; method kto also on single responses with labels) into the
        folder `out`, and returns it. full: all weights of a copy of the model instead, at a tenth of the rate if none
        is given. Options are those of `qadapter train`: recipe, method, learning_rate, max_steps,
        lora_r, seed, resume, ... on_metrics gets every line of metrics.jsonl as a dict; False stops with Interrupted.
        So does Ctrl-C, with KeyboardInterrupt: either way a checkpoint is there, and resume=True goes on."""
        if on_metrics is not None and not callable(on_metrics):
            raise TypeError("on_metrics: expected a function")
        reading = {"max_length": max_length, "dsp_domain": dsp_domain, "strict": strict,
                   "published_data_quirks": published_data_quirks, "response_end": response_end}
        train, lora = _qa.qa_train_defaults(), _qa.qa_lora_defaults()
        keep = _set_options(train, lora, options)
        keep += [_path(out, "out"), _path(self.folder, "folder")]
        train.out_dir, train.base_model = keep[-2], keep[-1]
        train.max_length = self._max_length(max_length)
        keep += [_named(train, data, "data_path"), _named(train, eval_data, "eval_data_path"),
                 _named(train, replay_data, "replay_path")]
        _split_batch(train, batch_size, options)
        if full and not {"learning_rate", "lr"} & set(options):
            train.learning_rate /= 10
        with self._using(adapter), contextlib.ExitStack() as stack:
            if self._training:
                raise Error("this Model is training already")
            if adapter is None:
                adapter = self._make_adapter(train, lora, train.seed, keep, full)

            def chat():
                return self._chat(None, chat_template, template_args, date)

            def pairs(of, **more):
                return None if of is None else stack.enter_context(self._pairs(of, None, chat, **reading, **more))

            labelled = train.objective.method == _qa.QA_METHOD_KTO
            learned = pairs(data, max_pairs=max_pairs, labelled=labelled)
            measured = pairs(eval_data, max_pairs=max_pairs, labelled=labelled)
            if labelled and not _qa.qa_pairs_single(learned):
                learned = stack.enter_context(_load(self, _qa.qa_pairs_free, _qa.qa_pairs_unpair, learned))
            replayed = pairs(replay_data, responses=True)
            train.replay = None if replayed is None else replayed._live
            self._run(train, adapter, learned, measured, on_metrics)
        adapter.folder, adapter._objective = os.fspath(out), type(train.objective).from_buffer_copy(train.objective)
        return adapter

    def _run(self, train, adapter, learned, measured, on_metrics):
        state = types.SimpleNamespace(stop=False, interrupted=False, raised=None)
        train.on_metrics, train.should_stop, functions = _callbacks(state, on_metrics)
        adapter._busy += 1
        self._training = True
        try:
            with _catching_interrupts(state):
                _qa.qa_train(self, adapter, learned, measured, ctypes.byref(train))
        except Interrupted:
            if state.raised is not None:
                raise state.raised from None
            if state.interrupted:
                raise KeyboardInterrupt from None
            raise
        finally:
            del functions
            self._training = False
            adapter._busy -= 1
        if state.raised is not None:
            raise state.raised
        if state.interrupted:
            raise KeyboardInterrupt


_MAX_LENGTH = 512  # of --max-length


def _named(train, data, field):
    """The path of a file, for the record."""
    path = None if data is None or not isinstance(data, (str, os.PathLike)) else _path(data, field)
    setattr(train, field, path)
    return path


def _split_batch(train, batch_size, options):
    """batch_size: micro-batches times their accumulation, as on the command line."""
    if batch_size is None:
        return
    size = _size(batch_size, "batch_size", 1)
    if train.gradient_accumulation != 1:
        raise Error("batch_size and gradient_accumulation_steps exclude each other")
    if not {"micro_batch", "micro_batch_size", "per_device_train_batch_size"} & set(options):
        train.micro_batch = size
    if train.micro_batch == 0 or size % train.micro_batch != 0:
        raise Error(f"batch_size: expected a multiple of micro_batch {train.micro_batch}, found {size}")
    train.gradient_accumulation = size // train.micro_batch


@contextlib.contextmanager
def _file_of(data):
    """The path of data: its own, or of a file with the objects of a list."""
    if isinstance(data, (str, os.PathLike)):
        yield _path(data, "data")
        return
    rows = [json.dumps(row) for row in data]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "data.jsonl")
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(row + "\n" for row in rows)
        yield os.fsencode(path)


def _callbacks(state, on_metrics):
    """on_metrics and should_stop of qa_train_options, and what must live as long as they are called."""
    def metrics(_user, pointer):
        try:
            with _buffer("qa_text") as line:
                _qa.qa_metrics_line(ctypes.byref(line), pointer)
                found = json.loads(_text_of(line))
            if on_metrics is not None and on_metrics(found) is False:
                state.stop = True
        except BaseException as error:  # nothing may leave a function that C calls
            state.raised = error
        return not (state.stop or state.interrupted or state.raised is not None)

    def should_stop(_user):
        return state.stop or state.interrupted or state.raised is not None

    functions = _metrics_function(metrics), _stop_function(should_stop)
    return (*(ctypes.cast(f, ctypes.c_void_p) for f in functions), functions)


@contextlib.contextmanager
def _catching_interrupts(state):
    """Ctrl-C sets state.interrupted, where Python's own handler is in force; a second one is Python's again."""
    if threading.current_thread() is not threading.main_thread() or \
            signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def handler(_number, _frame):
        state.interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class _Log:
    """Lines of the library: to a function, or warnings to Python's."""

    def __init__(self, log):
        self.log = log

    def __call__(self, _user, level, line):
        try:
            text = line.decode("utf-8", "replace")
            if self.log is not None:
                self.log(text)
            elif level == _qa.QA_LOG_WARNING:
                warnings.warn(text, Warning, stacklevel=3)
        except Exception as error:  # nothing may leave a function that C calls
            sys.excepthook(type(error), error, error.__traceback__)


class _Stream:
    """The text of an answer, token by token; what may still turn out to be the beginning of a stop text is held back."""

    def __init__(self, tokenizer, context, stops, on_text):
        self.text, self._given, self._stopped = "", 0, False
        self._stops, self._on_text, self._stream = stops, on_text, None
        if tokenizer is not None:
            values = _id_array(context)
            self._stream = _load(tokenizer, _qa.qa_decode_stream_free, _qa.qa_decode_stream_create, tokenizer, True,
                                 values, len(values))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._stream is not None:
            self._stream._free()

    def push(self, token_id):
        """Takes a token in; whether a stop text is there."""
        return self._stream is not None and self._take(_qa.qa_decode_stream_push, token_id)

    def finish(self):
        """All of the text is certain; whether a stop text is there."""
        if self._stream is not None and not self._stopped:
            self._take(_qa.qa_decode_stream_finish)
        self._give(len(self.text))
        return self._stopped

    def _take(self, function, *arguments):
        with _buffer("qa_text") as piece:
            function(self._stream, *arguments, ctypes.byref(piece))
            self.text += _text_of(piece)
        found = [at for at in (self.text.find(stop) for stop in self._stops) if at >= 0]
        if found:
            self.text, self._stopped = self.text[:min(found)], True
        held = max((n for stop in self._stops for n in range(1, len(stop)) if self.text.endswith(stop[:n])), default=0)
        self._give(len(self.text) - (0 if self._stopped else held))
        return self._stopped

    def _give(self, end):
        if end > self._given:
            piece, self._given = self.text[self._given:end], end
            if self._on_text is not None:
                self._on_text(piece)
