"""The messages of the contract. The stubs of a service are in its own module, as generation_pb2_grpc."""

from .chat_pb2 import *
from .classification_pb2 import *
from .embedding_pb2 import *
from .finish_reason_pb2 import *
from .generation_pb2 import *
from .model_pb2 import *
from .ranking_pb2 import *
from .token_ids_pb2 import *
from .tokenization_pb2 import *
from .transcription_pb2 import *
from .truncation_pb2 import *
from .usage_pb2 import *
