package io.github.vllmgrpcadapter;

import static java.util.stream.Collectors.joining;

import com.google.protobuf.Message;
import io.github.vllmgrpcadapter.v1.*;
import java.util.*;
import java.util.function.Function;

/** Makes of a stream's events the response that Generate gives for the same answer. */
public final class Fold {
  private Fold() {}

  /** The answer of these events. Unless they are all, up to an end without an error, it is incomplete. */
  public static GenerateResponse fold(Iterable<StreamGenerateResponse> events) {
    GenerateResponse.Builder response = GenerateResponse.newBuilder();
    SortedMap<Integer, List<StreamGenerateResponse>> choices = new TreeMap<>();
    for (StreamGenerateResponse event : events) {
      copy(event, response);
      copy(event.getStarted(), response);
      for (Object delta : event.getAllFields().values()) {
        if (delta instanceof Message message && message.getDescriptorForType().findFieldByName("choice_index") != null) {
          var index = (Integer) message.getField(message.getDescriptorForType().findFieldByName("choice_index"));
          choices.computeIfAbsent(index, none -> new ArrayList<>()).add(event);
        }
      }
    }
    choices.forEach((index, pieces) -> response.addChoices(choice(pieces).setIndex(index)));
    return response.build();
  }

  private static Choice.Builder choice(List<StreamGenerateResponse> events) {
    Choice.Builder choice = Choice.newBuilder().setRefusal(join(events, event -> event.getRefusal().getText()));
    ChatMessage.Builder message = choice.getMessageBuilder().setRole(Role.ROLE_ASSISTANT)
        .setContent(join(events, event -> event.getContent().getText()))
        .setReasoning(join(events, event -> event.getReasoning().getText()));
    SortedMap<Integer, List<StreamGenerateResponse>> calls = new TreeMap<>();
    for (StreamGenerateResponse event : events) {
      copy(event.getTokens(), choice);
      copy(event.getFinished(), choice);
      if (event.hasToolCall()) {
        calls.computeIfAbsent(event.getToolCall().getToolIndex(), none -> new ArrayList<>()).add(event);
      }
    }
    for (List<StreamGenerateResponse> call : calls.values()) {
      ToolCall.Builder whole = message.addToolCallsBuilder();
      copy(call.get(0).getToolCall(), whole);
      whole.setArguments(join(call, event -> event.getToolCall().getArguments()));
    }
    return choice;
  }

  /** At once, since to append each piece to a text takes the square of its length. */
  private static String join(List<StreamGenerateResponse> events, Function<StreamGenerateResponse, String> text) {
    return events.stream().map(text).collect(joining());
  }

  /** The fields that have the same name in both; lists are appended to. */
  private static void copy(Message from, Message.Builder to) {
    from.getAllFields().forEach((field, value) -> {
      var target = to.getDescriptorForType().findFieldByName(field.getName());
      if (target != null && field.isRepeated()) {
        ((List<?>) value).forEach(each -> to.addRepeatedField(target, each));
      } else if (target != null) {
        to.setField(target, value);
      }
    });
  }
}
