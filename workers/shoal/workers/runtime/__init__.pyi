from .compilation import compiled as compiled
from .compilation import inlined as inlined
from .control_groups import CONTROL_GROUP_ROOT as CONTROL_GROUP_ROOT
from .control_groups import CONTROL_GROUPS as CONTROL_GROUPS
from .control_groups import group_folders as group_folders
from .cores import available_cores as available_cores
from .cores import limit_tokenizer_threads as limit_tokenizer_threads
from .cores import threads_of as threads_of
from .credentials import InternalCredentials as InternalCredentials
from .credentials import open_public_port as open_public_port
from .durable_files import is_partial as is_partial
from .durable_files import partial_name as partial_name
from .durable_files import partial_siblings as partial_siblings
from .durable_files import sync_folder as sync_folder
from .durable_files import whole_file as whole_file
from .error_lines import error_line as error_line
from .error_lines import first_error_line as first_error_line
from .error_lines import typed_error_line as typed_error_line
from .file_locks import LockHeld as LockHeld
from .file_locks import lock_file as lock_file
from .file_locks import locked_folder as locked_folder
from .freed_memory import return_large_buffers as return_large_buffers
from .loop_thread import LoopThread as LoopThread
from .receiving import MalformedMessage as MalformedMessage
from .receiving import MessageParser as MessageParser
from .receiving import receive as receive
from .receiving import refusing_malformed as refusing_malformed
from .serving import INTERNAL_MESSAGE_BYTES as INTERNAL_MESSAGE_BYTES
from .serving import InternalServer as InternalServer
from .serving import flow_control_options as flow_control_options
from .serving import freeze_live_objects as freeze_live_objects
from .serving import internal_options as internal_options

__all__ = [
    "CONTROL_GROUPS",
    "CONTROL_GROUP_ROOT",
    "INTERNAL_MESSAGE_BYTES",
    "InternalCredentials",
    "InternalServer",
    "LockHeld",
    "LoopThread",
    "MalformedMessage",
    "MessageParser",
    "available_cores",
    "compiled",
    "error_line",
    "first_error_line",
    "flow_control_options",
    "freeze_live_objects",
    "group_folders",
    "inlined",
    "internal_options",
    "is_partial",
    "limit_tokenizer_threads",
    "lock_file",
    "locked_folder",
    "open_public_port",
    "partial_name",
    "partial_siblings",
    "receive",
    "refusing_malformed",
    "return_large_buffers",
    "sync_folder",
    "threads_of",
    "typed_error_line",
    "whole_file",
]
