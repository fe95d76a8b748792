from .keyed_vectors import from_keyed_vectors as from_keyed_vectors
from .keyed_vectors import to_keyed_vectors as to_keyed_vectors
from .saving import TableFormat as TableFormat
from .saving import check_output as check_output
from .saving import save_table as save_table
from .word_folder import Pooling as Pooling
from .word_folder import WordFolderConfig as WordFolderConfig
from .word_folder import is_word_folder as is_word_folder
from .word_table import WordTable as WordTable
from .word_table import read_word_table as read_word_table
from .word_vector_error import WordVectorError as WordVectorError

__all__ = [
    "Pooling",
    "TableFormat",
    "WordFolderConfig",
    "WordTable",
    "WordVectorError",
    "check_output",
    "from_keyed_vectors",
    "is_word_folder",
    "read_word_table",
    "save_table",
    "to_keyed_vectors",
]
