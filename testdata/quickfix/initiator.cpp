// A trading client on QuickFIX C++ that checks the demonstration gateway. See README.md.
#include <quickfix/Application.h>
#include <quickfix/Log.h>
#include <quickfix/MessageStore.h>
#include <quickfix/Session.h>
#include <quickfix/SessionSettings.h>
#include <quickfix/SocketInitiator.h>
#include <quickfix/fix44/NewOrderSingle.h>
#include <quickfix/fix44/OrderCancelReplaceRequest.h>
#include <quickfix/fix44/OrderCancelRequest.h>
#include <quickfix/fix44/TestRequest.h>

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <functional>
#include <iostream>
#include <mutex>
#include <sstream>
#include <string>

using std::string;

static void fail(const string& what) {
  std::cout << "FAILED " << what << std::endl;
  std::_Exit(1);
}

static void ok(const string& what) { std::cout << "ok " << what << std::endl; }

static string get(const FIX::Message& m, int tag) {
  if (m.isSetField(tag)) return m.getField(tag);
  if (m.getHeader().isSetField(tag)) return m.getHeader().getField(tag);
  return "";
}

// Client keeps every message that came in until a step asks for it.
class Client : public FIX::Application {
 public:
  void onCreate(const FIX::SessionID& s) override { session = s; }
  void onLogon(const FIX::SessionID&) override { event("LOGON"); }
  void onLogout(const FIX::SessionID&) override { event("LOGOUT"); }
  void toAdmin(FIX::Message&, const FIX::SessionID&) override {}
  void toApp(FIX::Message&, const FIX::SessionID&) throw(FIX::DoNotSend) override {}
  void fromAdmin(const FIX::Message& m, const FIX::SessionID&) throw(FIX::FieldNotFound, FIX::IncorrectDataFormat,
                                                                     FIX::IncorrectTagValue, FIX::RejectLogon) override {
    keep(m);
  }
  void fromApp(const FIX::Message& m, const FIX::SessionID&) throw(FIX::FieldNotFound, FIX::IncorrectDataFormat,
                                                                   FIX::IncorrectTagValue,
                                                                   FIX::UnsupportedMessageType) override {
    keep(m);
  }

  // await waits for the first message that fits and forgets it.
  FIX::Message await(const string& what, std::function<bool(const FIX::Message&)> fits) {
    std::unique_lock<std::mutex> lock(mu);
    auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    for (;;) {
      for (auto i = inbox.begin(); i != inbox.end(); ++i) {
        if (fits(*i)) {
          FIX::Message m = *i;
          inbox.erase(i);
          return m;
        }
      }
      if (news.wait_until(lock, end) == std::cv_status::timeout) {
        std::cout << "while waiting for " << what << " there came:" << std::endl;
        for (auto& m : inbox) std::cout << "  " << readable(m) << std::endl;
        fail(what);
      }
    }
  }

  // within tells whether a message that fits is there or comes soon.
  bool within(int millis, std::function<bool(const FIX::Message&)> fits) {
    std::unique_lock<std::mutex> lock(mu);
    return news.wait_for(lock, std::chrono::milliseconds(millis), [&] {
      for (auto& m : inbox)
        if (fits(m)) return true;
      return false;
    });
  }

  void awaitEvent(const string& what) {
    std::unique_lock<std::mutex> lock(mu);
    if (!news.wait_for(lock, std::chrono::seconds(10), [&] {
          for (auto i = events.begin(); i != events.end(); ++i)
            if (*i == what) {
              events.erase(i);
              return true;
            }
          return false;
        }))
      fail(what + " did not come");
  }

  // report waits for an ExecutionReport of an order with an ExecType and OrdStatus.
  FIX::Message report(const string& id, const string& execType, const string& status) {
    return await("35=8 11=" + id + " 150=" + execType + " 39=" + status, [&](const FIX::Message& m) {
      return get(m, 35) == "8" && get(m, 11) == id && get(m, 150) == execType && (status.empty() || get(m, 39) == status);
    });
  }

  void send(FIX::Message& m) {
    if (!FIX::Session::sendToTarget(m, session)) fail("could not send");
  }

  FIX::SessionID session;

 private:
  static string readable(const FIX::Message& m) {
    string s = m.toString();
    for (auto& c : s)
      if (c == '\001') c = '|';
    return s;
  }
  void keep(const FIX::Message& m) {
    std::lock_guard<std::mutex> lock(mu);
    inbox.push_back(m);
    if (inbox.size() > 10000) inbox.pop_front();
    news.notify_all();
  }
  void event(const string& what) {
    std::lock_guard<std::mutex> lock(mu);
    events.push_back(what);
    news.notify_all();
  }
  std::mutex mu;
  std::condition_variable news;
  std::deque<FIX::Message> inbox;
  std::deque<string> events;
};

static string run = std::to_string(std::chrono::system_clock::now().time_since_epoch().count() / 1000000);
static string id(const string& name) { return run + name; }

static FIX44::NewOrderSingle order(const string& name, char side, long qty, double price) {
  FIX44::NewOrderSingle m(FIX::ClOrdID(id(name)), FIX::Side(side), FIX::TransactTime(), FIX::OrdType(FIX::OrdType_LIMIT));
  m.set(FIX::Symbol("ACME"));
  m.set(FIX::OrderQty(qty));
  m.set(FIX::Price(price));
  return m;
}

static FIX44::OrderCancelRequest cancel(const string& name, const string& orig, char side) {
  FIX44::OrderCancelRequest m(FIX::OrigClOrdID(id(orig)), FIX::ClOrdID(id(name)), FIX::Side(side), FIX::TransactTime());
  m.set(FIX::Symbol("ACME"));
  return m;
}

static void trade(Client& c, bool exact) {
  auto rest = order("rest", FIX::Side_BUY, 100, 91.25);
  c.send(rest);
  auto r = c.report(id("rest"), "0", "0");
  if (get(r, 151) != "100" || get(r, 14) != "0") fail("new order: LeavesQty, CumQty");
  ok("new order acknowledged");

  FIX44::OrderCancelReplaceRequest g(FIX::OrigClOrdID(id("rest")), FIX::ClOrdID(id("rest2")), FIX::Side(FIX::Side_BUY),
                                     FIX::TransactTime(), FIX::OrdType(FIX::OrdType_LIMIT));
  g.set(FIX::Symbol("ACME"));
  g.set(FIX::OrderQty(250));
  g.set(FIX::Price(91.50));
  c.send(g);
  r = c.report(id("rest2"), "5", "0");
  if (get(r, 41) != id("rest") || get(r, 151) != "250") fail("replace: OrigClOrdID, LeavesQty");
  ok("order replaced");

  auto f = cancel("gone", "rest2", FIX::Side_BUY);
  c.send(f);
  r = c.report(id("gone"), "4", "4");
  if (get(r, 41) != id("rest2") || get(r, 151) != "0") fail("cancel: OrigClOrdID, LeavesQty");
  ok("order cancelled");

  auto late = cancel("late", "rest2", FIX::Side_BUY);
  c.send(late);
  r = c.await("35=9", [&](const FIX::Message& m) { return get(m, 35) == "9" && get(m, 11) == id("late"); });
  if (get(r, 102) != "0" || get(r, 434) != "1" || get(r, 39) != "4") fail("cancel reject: 102, 434, 39");
  ok("late cancel rejected");

  auto sell = order("sell", FIX::Side_SELL, 100, 101);
  auto buy = order("buy", FIX::Side_BUY, 40, 101);
  auto buy2 = order("buy2", FIX::Side_BUY, 60, 101);
  c.send(sell);
  c.send(buy);
  if (exact) {
    r = c.report(id("sell"), "F", "1");
    if (get(r, 32) != "40" || get(r, 31) != "101.00" || get(r, 151) != "60" || get(r, 14) != "40") fail("partial fill: quantities");
    r = c.report(id("buy"), "F", "2");
    if (get(r, 14) != "40" || get(r, 151) != "0") fail("fill: quantities");
    c.send(buy2);
    r = c.report(id("sell"), "F", "2");
    if (get(r, 14) != "100" || get(r, 151) != "0") fail("second fill: quantities");
  } else {
    c.await("buy filled", [&](const FIX::Message& m) { return get(m, 35) == "8" && get(m, 11) == id("buy") && get(m, 39) == "2"; });
    c.send(buy2);
  }
  c.await("buy2 filled", [&](const FIX::Message& m) { return get(m, 35) == "8" && get(m, 11) == id("buy2") && get(m, 39) == "2"; });
  ok("orders filled");

  auto large = order("large", FIX::Side_BUY, 1000000, 100);
  c.send(large);
  r = c.report(id("large"), "8", "8");
  if (get(r, 58).find("risk") == string::npos) fail("risk reject has text " + get(r, 58));
  ok("risk reject");

  auto again = order("sell", FIX::Side_SELL, 100, 101);
  c.send(again);
  r = c.report(id("sell"), "8", "8");
  if (get(r, 103) != "6") fail("duplicate ClOrdID: OrdRejReason");
  ok("duplicate order rejected");
}

static void session(Client& c) {
  auto bad = order("bad", FIX::Side_BUY, 1, 100);
  bad.removeField(38);
  c.send(bad);
  auto r = c.await("35=3", [&](const FIX::Message& m) { return get(m, 35) == "3"; });
  if (get(r, 371) != "38" || get(r, 373) != "1" || get(r, 372) != "D") fail("session reject: 371, 372, 373");
  ok("message without OrderQty rejected");

  FIX44::TestRequest t(FIX::TestReqID("are you there"));
  c.send(t);
  c.await("heartbeat", [&](const FIX::Message& m) { return get(m, 35) == "0" && get(m, 112) == "are you there"; });
  ok("TestRequest answered");

  // We pretend to have missed six messages: QuickFIX asks for them at the next one.
  auto* s = FIX::Session::lookupSession(c.session);
  s->setNextTargetMsgSeqNum(s->getExpectedTargetNum() - 6);
  auto after = order("after", FIX::Side_BUY, 100, 91);
  c.send(after);
  c.await("a possible duplicate", [&](const FIX::Message& m) { return get(m, 35) == "8" && get(m, 43) == "Y" && get(m, 122) != ""; });
  c.await("35=4 gap fill", [&](const FIX::Message& m) { return get(m, 35) == "4" && get(m, 123) == "Y"; });
  c.report(id("after"), "0", "0");
  ok("our gap is resent and filled");

  // We skip five numbers: the gateway asks, QuickFIX fills the gap, trading goes on.
  // (QuickFIX's memory store finds nothing to resend when the first number asked for
  // is not in it, so an order above the gap would be lost: only TestRequests are sent
  // until the gateway answers one.)
  s->setNextSenderMsgSeqNum(s->getExpectedSenderNum() + 5);
  FIX44::TestRequest skip(FIX::TestReqID("after a gap"));
  c.send(skip);
  c.await("35=2", [&](const FIX::Message& m) { return get(m, 35) == "2" && get(m, 16) == "0"; });
  bool answered = false;
  for (int i = 0; i < 50 && !answered; i++) {
    string name = "filled " + std::to_string(i);
    FIX44::TestRequest again{FIX::TestReqID(name)};
    c.send(again);
    answered = c.within(200, [&](const FIX::Message& m) { return get(m, 35) == "0" && get(m, 112) == name; });
  }
  if (!answered) fail("the session stands still after the gap");
  auto gone = cancel("after-gone", "after", FIX::Side_BUY);
  c.send(gone);
  c.report(id("after-gone"), "4", "4");
  ok("the gateway's gap is filled");
}

int main(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "usage: initiator HOST PORT [SENDER [exact]]" << std::endl;
    return 2;
  }
  string sender = argc > 3 ? argv[3] : "QUICKFIX";
  bool exact = argc > 4 && string(argv[4]) == "exact";
  std::stringstream text;
  text << "[DEFAULT]\nConnectionType=initiator\nReconnectInterval=1\nHeartBtInt=2\nStartTime=00:00:00\nEndTime=00:00:00\n"
       << "UseDataDictionary=N\nSocketNodelay=Y\n[SESSION]\nBeginString=FIX.4.4\nSenderCompID=" << sender
       << "\nTargetCompID=GATEWAY\nSocketConnectHost=" << argv[1] << "\nSocketConnectPort=" << argv[2]
       << "\nResetOnLogon=" << (exact ? "N" : "Y") << "\n";
  try {
    FIX::SessionSettings settings(text);
    FIX::MemoryStoreFactory store;
    Client client;
    FIX::SocketInitiator initiator(client, store, settings);
    initiator.start();
    client.awaitEvent("LOGON");
    ok("logged on");
    trade(client, exact);
    session(client);
    auto* s = FIX::Session::lookupSession(client.session);
    int before = s->getExpectedTargetNum();
    s->logout("bye");
    client.awaitEvent("LOGOUT");
    ok("logged out");
    s->logon();
    client.awaitEvent("LOGON");
    if (exact && s->getExpectedTargetNum() <= before) fail("the numbers started over");
    ok("logged on again");
    auto last = order("last", FIX::Side_BUY, 100, 91);
    client.send(last);
    client.report(id("last"), "0", "0");
    auto gone = cancel("last-gone", "last", FIX::Side_BUY);
    client.send(gone);
    client.report(id("last-gone"), "4", "4");
    ok("traded again");
    initiator.stop();
  } catch (std::exception& e) {
    fail(e.what());
  }
  return 0;
}
